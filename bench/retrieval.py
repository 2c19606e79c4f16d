"""How well and how fast tools are found.

    python -m bench.retrieval [rows.jsonl.gz ...] [--every N] [--kept FILE] [--speed]

Alone: how often the tool that a user means comes first among those shown (the demo's live and gate requests that are about a tool;
its held-out ones are left alone). With files of dataset rows: all their tools pooled, and for each row whose right tools are known
whether they are among the 8 found, by what the runtime would ask at the turn's beginning. With `--speed`: what a turn pays for a
search among 1,000 and 10,000 registered tools on one core.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import torch

from hone.demo.scenes import operations
from hone.demo.traffic import Visit, read_traffic
from hone.output import show_table
from learner.finder import Request, is_kept_out, one_for_each_name, read_requests
from runtime.database import open_database
from tools.catalogue import Catalogue
from tools.embedding import Embedder, MiniLm, Vectors
from tools.kept_vectors import KeptVectors
from tools.projection import Projection
from tools.python_tools import PythonTools
from tools.retrieval import Retriever, describe
from tools.runnable import RunnableTools
from tools.spec import HttpBackend, ToolSpec
from tools.word_index import tokens

FOUND = 8
SIZES = (1_000, 10_000)
SEARCHES = 200
SHOWN = 6
"""Tools of a turn, as `shown_tools` has it."""


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


def demo(embedder: Embedder) -> None:
    described = {name: describe(name, o.description, o.json_schema) for name, (o, _) in operations().items()}
    visits = requests(described)
    rows = []
    for name, retriever in (
        ("words", Retriever(None)),
        ("words and meaning", Retriever(embedder)),
        ("and what was learnt", Retriever(embedder, Projection.load())),
    ):
        retriever.order(tuple(described.values()), "warm")
        share, ms = first_place(retriever, described, visits)
        rows.append((name, f"{share:.1%}", f"{ms:.2f}"))
    show_table(f"{len(visits)} requests", ("by", "first of those shown", "ms a search"), rows)


Search = Callable[[Request, list[int]], list[int]]
"""Places of the tools found. Args: the request; the places of the tools used earlier."""


class Pool:
    """Tools among which each request searches."""

    def __init__(self, keys: list[str], definitions: dict[str, dict[str, Any]]) -> None:
        """Args: keys: of the definitions that are tools here."""
        functions = [definitions[key] for key in keys]
        self.described = tuple(
            describe(f["name"], f.get("description") or "", f.get("parameters") or {}) for f in functions
        )
        self.names = [f["name"] for f in functions]
        self.place = {key: i for i, key in enumerate(keys)}
        self.by_name: dict[str, int] = {}
        for i, name in enumerate(self.names):
            self.by_name.setdefault(name, i)

    def recall(self, requests: Sequence[Request], search: Search, *, strict: bool) -> dict[str, tuple[float, float]]:
        """By source: share of the right tools that are found, and of rows all of whose are. "kept out" are the right tools that the
        projection was not learnt on.

        Args: strict: a tool of the same name with another definition does not count.
        """
        shares: dict[str, list[float]] = defaultdict(list)
        for request in requests:
            places = {name: self._place(request, name) for name in (*request.right, *request.called)}
            kept = [places[name] for name in request.called if name in request.definitions or not strict]
            found = search(request, kept)
            names = {self.names[i] for i in found}
            hits = {name: places[name] in found if strict else name in names for name in request.right}
            for source in (request.source, "all"):
                shares[source].append(float(np.mean([*hits.values()])))
            kept_out = [hit for name, hit in hits.items() if is_kept_out(name)]
            if kept_out:
                shares["kept out"].append(float(np.mean(kept_out)))
        return {source: (float(np.mean(s)), float(np.mean([x == 1 for x in s]))) for source, s in shares.items()}

    def _place(self, request: Request, name: str) -> int:
        key = request.definitions.get(name, "")
        return self.place.get(key, self.by_name.get(name, -1))


class _Remembering:
    """An embedder that keeps what it has computed."""

    def __init__(self, embedder: Embedder, kept: KeptVectors) -> None:
        self.name = embedder.name
        self._embedder = embedder
        self._kept = kept
        self._known: dict[str, Any] = {}

    def embed(self, texts: Sequence[str]) -> Vectors:
        self._known |= self._kept.get([text for text in texts if text not in self._known])
        lacking = sorted({text for text in texts if text not in self._known}, key=len)
        for at in range(0, len(lacking), 64):
            some = lacking[at : at + 64]
            fresh = dict(zip(some, self._embedder.embed(some), strict=True))
            self._kept.put(fresh)
            self._known |= fresh
        return np.array([self._known[text] for text in texts])


def pooled(files: Sequence[Path], every: int, embedder: Embedder) -> None:
    requests, definitions = read_requests(files)
    requests = requests[::every]
    embedder.embed([request.text for request in requests])
    pools = (
        ("one tool for each name, as a catalogue has them", Pool(one_for_each_name(definitions), definitions), False),
        ("each distinct definition a tool of its own", Pool([*definitions], definitions), True),
    )
    by_words, plain, by_both = Retriever(None), Retriever(embedder), Retriever(embedder, Projection.load())
    for title, pool, strict in pools:
        index = bm25s.BM25()
        index.index([tokens(text) for text in pool.described], show_progress=False)
        matrix = plain.vectors(pool.described)
        searches: dict[str, Search] = {
            "bm25s": lambda r, kept, index=index: _kept_first(_plain(index, r.text), kept),
            "meaning": lambda r, kept, matrix=matrix: _kept_first(matrix @ embedder.embed([r.text])[0], kept),
            "words": _searching(by_words, pool),
            "both": _searching(plain, pool),
            "learnt": _searching(by_both, pool),
        }
        found = {name: pool.recall(requests, search, strict=strict) for name, search in searches.items()}
        rows = []
        for source in sorted(found["both"], key=lambda s: (s in ("all", "kept out"), s)):
            count = sum(
                any(map(is_kept_out, r.right)) if source == "kept out" else source in (r.source, "all")
                for r in requests
            )
            shares = [f"{found[name][source][0]:.3f} ({found[name][source][1]:.3f})" for name in searches]
            rows.append((source, str(count), *shares))
        show_table(
            f"Right tools among the {FOUND} found of {len(pool.names)}: {title} (rows with all of them)",
            (
                "source",
                "rows",
                "bm25s, whole text",
                "meaning, whole text",
                "words",
                "words and meaning",
                "and what was learnt",
            ),
            rows,
        )


def _searching(retriever: Retriever, pool: Pool) -> Search:
    return lambda request, kept: retriever.order(pool.described, request.text, limit=FOUND, keep=kept)


def _plain(index: bm25s.BM25, text: str) -> Any:
    asked = [token for token in dict.fromkeys(tokens(text)) if token in index.vocab_dict]
    return index.get_scores(asked) if asked else np.zeros(index.scores["num_docs"])


def _kept_first(scores: Any, kept: list[int]) -> list[int]:
    order = np.argsort(-scores, kind="stable")[: FOUND + len(kept)].tolist()
    return [*kept, *(i for i in order if i not in kept)][:FOUND]


def speed(files: Sequence[Path], embedder: MiniLm) -> None:
    """One thread; each search is for a text that was not met before, of less than 200 characters. The vectors of tools are random,
    which changes no time."""
    torch.set_num_threads(1)
    requests, definitions = read_requests(files)
    asked = [r.text for r in requests if len(r.text) < 200][: SEARCHES * len(SIZES)]
    some = [describe(d["name"], d.get("description") or "", {}) for d in [*definitions.values()][:128]]
    began = time.process_time()
    embedder.embed(some)
    rate = len(some) / (time.process_time() - began)
    rows = [
        _timed(definitions, size, asked[i * SEARCHES : (i + 1) * SEARCHES], embedder) for i, size in enumerate(SIZES)
    ]
    columns = ("tools", "median", "p99", "waited", "embedding", "bm25s alone", "first, s", "after a change", "MB")
    show_table(f"A turn's search, ms of processor time; {rate:.0f} descriptions embedded a second", columns, rows)


def _timed(definitions: dict[str, dict[str, Any]], size: int, asked: list[str], embedder: MiniLm) -> list[str]:
    specs = _registrable(definitions, size)
    described = [describe(s.name, s.description, s.parameters) for s in specs]
    plain = bm25s.BM25()
    plain.index([tokens(text) for text in described], show_progress=False)
    clock = _Clock(embedder)
    with tempfile.TemporaryDirectory() as home:
        engine = open_database(f"sqlite:///{home}/hone.db")
        catalogue = Catalogue(engine)
        catalogue.add_all(specs)
        kept = KeptVectors(Path(home) / "vectors.db", embedder.name)
        vectors = np.random.default_rng(1).standard_normal((size, 384)).astype(np.float32)
        kept.put(dict(zip(described, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), strict=True)))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        toolbox, retriever = RunnableTools(catalogue, PythonTools()), Retriever(clock, Projection.load(), kept=kept)
        first = _seconds(lambda: retriever.shortlist(toolbox.list(), "warm", limit=SHOWN))
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        turns, waits, alone, embedding = [], [], [], []
        for text in asked:
            clock.seconds = 0.0
            began = time.perf_counter()
            turns.append(_seconds(lambda: retriever.shortlist(toolbox.list(), text, limit=SHOWN)))  # noqa: B023
            waits.append(time.perf_counter() - began)
            embedding.append(clock.seconds)
            alone.append(_seconds(lambda: _plain(plain, text)))  # noqa: B023
        catalogue.add(specs[0].model_copy(update={"name": "one_more", "description": "One tool more."}))
        changed = _seconds(lambda: retriever.shortlist(toolbox.list(), asked[0], limit=SHOWN))
        retriever.close()
        engine.dispose()
    median, p99 = statistics.median(turns) * 1000, float(np.quantile(turns, 0.99)) * 1000
    others = (statistics.median(each) * 1000 for each in (waits, embedding, alone))
    parts = (median, p99, *others)
    return [f"{size:,}", *(f"{ms:.1f}" for ms in parts), f"{first:.2f}", f"{changed * 1000:.0f}", f"{memory:.0f}"]


class _Clock:
    """An embedder that is timed."""

    def __init__(self, embedder: MiniLm) -> None:
        self.name = embedder.name
        self.seconds = 0.0
        self._embedder = embedder

    def embed(self, texts: Sequence[str]) -> Vectors:
        began = time.process_time()
        found = self._embedder.embed(texts)
        self.seconds += time.process_time() - began
        return found


def _seconds(run: Callable[[], object]) -> float:
    """Of processor time, by whatever thread: what else the machine does counts little."""
    began = time.process_time()
    run()
    return time.process_time() - began


def _registrable(definitions: dict[str, dict[str, Any]], size: int) -> list[ToolSpec]:
    """The pooled tools, and again under other names until there are `size`."""
    functions, specs = [*definitions.values()], []
    for i in range(size):
        function = functions[i % len(functions)]
        name = "".join(c if c.isalnum() else "_" for c in function["name"])[:54]
        parameters = {"type": "object", "properties": (function.get("parameters") or {}).get("properties") or {}}
        backend = HttpBackend(url="https://example.com/")
        description = function.get("description") or ""
        specs.append(ToolSpec(name=f"t_{name}_{i}", description=description, parameters=parameters, backend=backend))
    return specs


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.retrieval", description=__doc__)
    parser.add_argument("rows", nargs="*", type=Path, help=".jsonl.gz files of dataset rows, whose tools are pooled")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="search for each N-th row only")
    parser.add_argument(
        "--kept", type=Path, metavar="FILE", help="keeps the vectors, which take minutes, for the next run"
    )
    parser.add_argument("--speed", action="store_true", help="times searches instead")
    given = parser.parse_args()
    embedder = MiniLm()
    if given.speed:
        if not given.rows:
            parser.error("--speed registers the tools of rows: name a file of them")
        speed(given.rows, embedder)
        return
    demo(embedder)
    if given.rows:
        with tempfile.TemporaryDirectory() as folder:
            kept = KeptVectors(given.kept or Path(folder) / "vectors.db", embedder.name)
            pooled(given.rows, given.every, _Remembering(embedder, kept))


if __name__ == "__main__":
    main()
