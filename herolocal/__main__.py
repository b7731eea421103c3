"""`python -m herolocal` is the command `herolocal`."""

from herolocal.interfaces.cli.main import main

if __name__ == "__main__":
    main()
