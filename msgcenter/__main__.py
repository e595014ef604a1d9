"""`python -m msgcenter`: the command line."""

from msgcenter.cli import main

if __name__ == "__main__":
    main()
