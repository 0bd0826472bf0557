"""Readable subtitles: cues of few, short lines that can be read in their time. `cues` is the way in; all of it is pure."""
