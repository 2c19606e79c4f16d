"""`python -m bench NAME`: one of the benches, as `python -m bench.NAME` runs it; without a name, which there are."""

import pkgutil
import runpy
import sys

import bench


def main() -> None:
    names = sorted(module.name for module in pkgutil.iter_modules(bench.__path__) if module.name != "__main__")
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        print(f"usage: python -m bench NAME; there are: {', '.join(names)}", file=sys.stderr)
        sys.exit(2)
    name = sys.argv.pop(1)
    runpy.run_module(f"bench.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
