.PHONY: check fix test bench

check:  ## Check format, lint, types and import layers
	uv run ruff format --check
	uv run --no-sync ruff check
	uv run --no-sync mypy
	uv run --no-sync lint-imports --no-cache

fix:  ## Format, and fix what the linter can fix
	uv run ruff check --fix
	uv run ruff format

test:
	uv run pytest

bench:  ## Run the benchmarks: one JSON file each in .benchmarks/
	@mkdir -p .benchmarks
	@set -e; for question in benchmarks/*.py; do \
		uv run python $$question --out .benchmarks/$$(basename $$question .py).json; \
	done
