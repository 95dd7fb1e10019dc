"""``python -m bench``."""

if __name__ == "__main__":  # the rivals' processes import this module too, and must find nothing
    from bench.command import main

    main()
