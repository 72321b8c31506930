import sys

from ai_bridge.process import main

if __name__ == "__main__":
    sys.exit(main())
