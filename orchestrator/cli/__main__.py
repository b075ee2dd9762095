"""`python -m orchestrator.cli`: the same as `bandmaster`, where it is not installed."""

from .app import main

main()
