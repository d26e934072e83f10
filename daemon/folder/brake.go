package folder

import "time"

// The brake's thresholds. Directories do not count, on either side: a directory without
// files takes nothing along.
const (
	// brakeLeast is how many deletions are held at least: fewer are everyday work,
	// whatever part of a small folder they are.
	brakeLeast = 50
	// brakeLook is the part of the folder, one in so many paths, whose deletion makes
	// the engine count everything that is missing, however it came. Less cannot become
	// a half unseen, for what was let go counts on for brakeWindow.
	brakeLook = 20
	// brakeBehind is how many changes that are still on their way make the engine count
	// at once, whatever the batch deletes; brakeRest is how many times longer than a count
	// it then rests.
	brakeBehind = 10
	brakeRest   = 20
	// brakeWindow is how long deletions that were let go count as "at once" with later
	// ones; and for how long what is missing must be less than brakeLeast, and stand
	// still, before held deletions are no mass deletion any more.
	brakeWindow = 10 * time.Second
	// brakeCalm is how long the number of missing paths must stand still before it is
	// taken for all that a program that is deleting will delete; brakePatience bounds
	// the wait for that.
	brakeCalm     = 500 * time.Millisecond
	brakePatience = 30 * time.Second
)

// braked decides whether deletions are held: over half of the paths, and at least
// least. paths includes the deleted ones.
func braked(deleted, paths, least int) bool {
	return deleted >= least && 2*deleted > paths
}

// worthCounting decides whether deletions, with those of the last moments, are so many
// that everything missing is to be counted before they go on.
func worthCounting(deleted, paths, least int) bool {
	return deleted >= least && deleted*brakeLook >= paths
}

// recently sums up the deletions of the last moments.
type recently struct{ list []spell }

type spell struct {
	at time.Time
	n  int
}

func (r *recently) add(now time.Time, n int) {
	if n > 0 {
		r.list = append(r.list, spell{now, n})
	}
}

// sum forgets what is older than brakeWindow and counts the rest.
func (r *recently) sum(now time.Time) (n int) {
	for len(r.list) > 0 && now.Sub(r.list[0].at) > brakeWindow {
		r.list = r.list[1:]
	}
	for _, s := range r.list {
		n += s.n
	}
	return n
}
