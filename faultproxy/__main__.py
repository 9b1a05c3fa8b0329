"""``faultproxy`` and ``python -m faultproxy``: what signals do is settled before all else is loaded."""

import signal


def main() -> None:
    """Run the command, and end the process."""
    # Loading takes a third of a second. Meanwhile SIGHUP and SIGUSR1 must not end it, nor SIGINT show where it was.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from faultproxy import cli  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


if __name__ == "__main__":
    main()
