// Package settle decides when a changed path is settled, and when the settled
// paths make a batch. It is a pure state machine: it has no clock, no timers and
// no filesystem; its caller passes the time and what a look at the path said.
package settle

import "time"

// Config has the times of the settle rules. Zero fields mean the defaults.
type Config struct {
	// Quiet is how long no event may have come before a path is looked at. Default
	// 3 ms: programs that write a file in several steps mostly take less between
	// them, and it is most of the delay that a user sees.
	Quiet time.Duration
	// MaxQuiet is what Quiet grows to in a burst, so that a burst makes few
	// batches. Default 100 ms.
	MaxQuiet time.Duration
	// Blind is the quiet time where the system cannot tell whether a file is open
	// for writing; two looks that far apart must agree. It doubles while the file
	// changes between looks. Default 30 ms.
	Blind time.Duration
	// MaxBlind is what Blind grows to. Default 2 s.
	MaxBlind time.Duration
	// HeldKnown is the quiet time after which a file that somebody keeps open for
	// writing is taken all the same, if history knows it: a log, a database.
	// Default 2 s.
	HeldKnown time.Duration
	// HeldNew is the same for a new file, which may be a stalled download.
	// Default 60 s.
	HeldNew time.Duration
	// MaxWait is how long events may keep a path from being looked at: a file that
	// is opened, appended to and closed all the time has closed versions too.
	// Default 5 s.
	MaxWait time.Duration
	// CloseAfter is how long a settled path waits at most for others of its batch.
	// Default 1 s.
	CloseAfter time.Duration
	// MaxBatch bounds the paths of a batch. Default 20000, about 5 MB.
	MaxBatch int
}

const (
	// hotFactor: a file is reported no sooner after its last hash than so many
	// times what the hash took, so hashing it costs at most a tenth of a processor.
	hotFactor = 10
	// hotPoll is how often a file that may not be reported yet is looked at: it is no
	// longer dirty if its hash was of what it is now.
	hotPoll = 100 * time.Millisecond
	// burstFree is how many newly dirty paths are not yet a burst; each further one
	// adds burstStep to the quiet time. With these, 100 paths at once reach MaxQuiet.
	burstFree = 4
	burstStep = time.Millisecond
	// burstMax bounds the memory of a burst, burstLeak is how many paths a second
	// it forgets: within about a second after a burst a single change is fast again,
	// while more than 100 new paths a second are a burst that goes on.
	burstMax  = 128
	burstLeak = 100.0
	// heldGrace is how long a file that is open for writing without events still
	// keeps others of its batch waiting.
	heldGrace = 100 * time.Millisecond
	// A file open for writing is looked at again after pollPart of its quiet time,
	// between pollMin and pollMax, because closing it makes no event.
	pollPart = 8
	pollMin  = 3 * time.Millisecond
	pollMax  = 250 * time.Millisecond
	// A requeued path's quiet time doubles each time, up to maxRetry.
	maxTries = 10
	maxRetry = 2 * time.Second
)

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	set(&c.Quiet, 3*time.Millisecond)
	set(&c.MaxQuiet, 100*time.Millisecond)
	set(&c.Blind, 30*time.Millisecond)
	set(&c.MaxBlind, 2*time.Second)
	set(&c.HeldKnown, 2*time.Second)
	set(&c.HeldNew, time.Minute)
	set(&c.MaxWait, 5*time.Second)
	set(&c.CloseAfter, time.Second)
	if c.MaxBatch == 0 {
		c.MaxBatch = 20000
	}
	c.MaxQuiet = max(c.MaxQuiet, c.Quiet)
	return c
}
