"""The media processes: a keeper, and the pinned workers that it forks. RTP on one side, rings on the other."""
