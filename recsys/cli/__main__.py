"""`python -m recsys.cli`, which is how torchrun starts the command line."""

from recsys.cli.app import main

if __name__ == "__main__":
    main()
