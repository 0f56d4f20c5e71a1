"""Stub."""


def labelling_order(ids, tags, seed):
    """Stub."""
    return tuple(ids)


def within_budget(order, seconds_of, budget):
    """Stub."""
    return tuple(order)
