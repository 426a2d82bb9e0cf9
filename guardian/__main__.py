"""`python -m guardian`: the command line where the script is not on the path."""

from guardian.cli.main import main

if __name__ == "__main__":
    main()
