"""What happens by itself: `conditions`, `sensors` on the outside, `schedules` with the nightly, jobs for people."""
