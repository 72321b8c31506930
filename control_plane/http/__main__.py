import sys

from control_plane.http.process import main

if __name__ == "__main__":
    sys.exit(main())
