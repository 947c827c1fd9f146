"""The ``sadmil`` command line."""


def main() -> None:
    """Runs the ``sadmil`` command line."""
    from sadmil_core.cli.app import main as run

    run()
