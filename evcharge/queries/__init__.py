"""What drivers ask: which charger near me is free, what does a station do now and usually, which cars head for it.

Every answer has the age of the state that it was read from. An unknown outlet is never shown as free: if a station has been
silent for long, or the stream is down, its outlets read as unknown.
"""
