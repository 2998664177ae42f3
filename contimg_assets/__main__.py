"""`python -m contimg_assets`: the command `contimg`, for an interpreter whose scripts are not on the path."""

from contimg_assets.cli import main

if __name__ == "__main__":
    main()
