package materialize

import (
	"context"
	"errors"
	"time"
)

type keptEntry struct{}

var errSkeleton = errors.New("not there yet")

// Staged is the outcome of Stage: to be given to Commit or Discard.
type Staged struct{}

// NoSpaceError is returned by Stage when the disk is too full.
type NoSpaceError struct{ Need, Free uint64 }

// Error says how much is needed.
func (e *NoSpaceError) Error() string { return "no space" }

// Stage writes what items need into .lockstep/tmp and makes it durable. Single
// files that cannot be had are no error: Commit reports them as Missing or Failed.
func (x *Executor) Stage(ctx context.Context, items []Item) (*Staged, error) { return nil, errSkeleton }

// Discard removes what Stage wrote, where Commit will not be called.
func (x *Executor) Discard(s *Staged) {}

// Commit moves s into place, under the caller's lock. confirm is asked for each item first. record
// is called once a batch after the batch's names are durable, with its results. An error means that
// the folder must stop and Recover (fsync failed, record failed); the results returned
// are those that record has had.
func (x *Executor) Commit(ctx context.Context, s *Staged, confirm func(*Item) bool, record func([]Result) error) ([]Result, error) {
	return nil, errSkeleton
}

// Swept counts what one Sweep did.
type Swept struct {
	Dropped, Returned, Waiting int
	// Next is when the next kept file is due; zero if there is none.
	Next time.Time
}

// Sweep drops or gives back the kept files that are due.
func (x *Executor) Sweep(ctx context.Context) (Swept, error) { return Swept{}, errSkeleton }

// Recover finishes or undoes what a crash cut short. Call it at start, before the first scan.
func (x *Executor) Recover(ctx context.Context) error { return errSkeleton }
