from wsss.data.chance import seed_of


def test_seeds_are_the_same_on_every_machine_and_differ_between_parts() -> None:
    assert seed_of("view", 0, 1, "cat") == 7291170486501603725
    seeds = {seed_of(seed, epoch, str(id)) for seed in range(10) for epoch in range(10) for id in range(10)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
