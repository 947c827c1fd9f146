"""``python -m sadmil_core`` is the ``sadmil`` command."""

from sadmil_core.cli import main

main()
