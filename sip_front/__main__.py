import sys

from sip_front.process import main

sys.exit(main())
