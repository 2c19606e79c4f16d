"""`python -m bench.retrieval`: how often the tool that a user means comes first among those shown, and what the search costs.

The demo's live and gate requests that are about a tool; its held-out ones are left alone.
"""

import time

from hone.demo.scenes import operations
from hone.demo.traffic import Visit, read_traffic
from hone.output import show_table
from tools.embedding import MiniLm
from tools.retrieval import Retriever, describe


def requests(described: dict[str, str]) -> list[Visit]:
    """Those whose tools are all services of the demo: hone's own and the library's have no scene that describes them."""
    visits = [visit for visit in read_traffic() if visit.split != "held_out" and visit.tool is not None]
    return [visit for visit in visits if all(name in described for name in visit.shown)]


def first_place(retriever: Retriever, described: dict[str, str], visits: list[Visit]) -> tuple[float, float]:
    """Share of requests whose tool comes first, and milliseconds of a search."""
    hits, started = 0, time.perf_counter()
    for visit in visits:
        (best, *_) = retriever.order(tuple(described[name] for name in visit.shown), visit.opening)
        hits += visit.shown[best] == visit.tool
    return hits / len(visits), (time.perf_counter() - started) / len(visits) * 1000


def main() -> None:
    described = {name: describe(name, o.description, o.json_schema) for name, (o, _) in operations().items()}
    visits = requests(described)
    rows = []
    for name, retriever in (("words", Retriever(None)), ("words and meaning", Retriever(MiniLm()))):
        retriever.order(tuple(described.values()), "warm")
        share, ms = first_place(retriever, described, visits)
        rows.append((name, f"{share:.1%}", f"{ms:.2f}"))
    show_table(f"{len(visits)} requests", ("by", "first of those shown", "ms a search"), rows)


if __name__ == "__main__":
    main()
