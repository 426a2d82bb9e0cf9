"""The recording: what was sensed and decided, thinned while all is well and whole while it is not, within fixed bounds."""
