import warnings

with warnings.catch_warnings():
    # importing torch-geometric scripts a class, which torch has begun to warn about
    warnings.simplefilter("ignore", FutureWarning)
    import torch_geometric  # noqa: F401
