"""`python -m insertion_pipeline`: the program where no script of it stands on the path. Nothing else belongs here."""

from insertion_pipeline.cli import main

if __name__ == "__main__":
    main()
