"""What drivers ask: which charger near me is free, what does a station do now and usually, who is heading there.

Every answer carries the age of the state that it was read from. What is not known is never shown as free: a station that
has said nothing for long, or a stream that is down, reads as unknown.
"""
