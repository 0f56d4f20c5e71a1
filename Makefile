.PHONY: check fix test bench

check:  ## Layout, lint, types and floors
	uv run ruff format --check
	uv run --no-sync ruff check
	uv run --no-sync mypy
	uv run --no-sync lint-imports --no-cache

fix:  ## Mend what can be mended without thinking
	uv run ruff check --fix
	uv run ruff format

test:
	uv run pytest

bench:  ## One JSON file per question in .benchmarks/
	@mkdir -p .benchmarks
	@set -e; for question in benchmarks/*.py; do \
		uv run python $$question --out .benchmarks/$$(basename $$question .py).json; \
	done
