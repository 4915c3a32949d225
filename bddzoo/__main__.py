"""Entry point of ``python -m bddzoo``."""

from bddzoo.cli.main import main

if __name__ == "__main__":
    main()
