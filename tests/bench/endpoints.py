"""A hundred thousand endpoints of ten thousand tenants: memory of each, and how fast an event finds its own."""

from measure import Row, program


def in_memory(bench, directory):
    settings, index, match_us = program("matching", bench.size(10_000, 1_000), 10)
    return {"settings bytes": settings, "index bytes": index, "match us": match_us}


MEASUREMENTS = {"the registry": in_memory}


def rows(get):
    yield Row("memory of an endpoint beyond its settings", get("the registry", "index bytes"), "bytes", 200, "200 bytes",
              below=True, note=f"its settings: {get('the registry', 'settings bytes'):.0f}")
    yield Row("matching an event to its tenant's endpoints", get("the registry", "match us"), "us", 5, "5 us", below=True)
