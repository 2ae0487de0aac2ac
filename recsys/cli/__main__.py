"""`python -m recsys.cli`, as torchrun starts it."""

from recsys.cli.app import main

if __name__ == "__main__":
    main()
