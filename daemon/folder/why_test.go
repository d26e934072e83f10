package folder

import (
	"bytes"
	"crypto/rand"
	"os"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// why fails unless the path waits for that step.
func (n *node) why(p id.Path, want Step) Explanation {
	n.c.t.Helper()
	x, _, _, err := n.engine.Why(p)
	n.c.ok(err)
	if x.Step != want {
		n.c.t.Fatalf("%s is %s (%s), want %s", p, x.Step, x.Reason, want)
	}
	return x
}

func TestWhyHashing(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	n := c.nodes[0]
	n.write("f", "1")
	c.settled()
	w := n.engine.hashing.begin("f", 100)
	_, _ = counted{bytes.NewReader(make([]byte, 60)), w}.ReadAt(make([]byte, 40), 0)
	if x := n.why("f", Hashing); x.Work.Done != 40 || x.Work.Size != 100 || x.Since.IsZero() {
		t.Errorf("%+v", x.Work)
	}
	n.engine.hashing.set("f", whole)
	if x := n.why("f", Hashing); x.Work.Size != 0 || !x.Since.IsZero() {
		t.Errorf("read, and not committed: %+v", x)
	}
	n.engine.hashing.endAll()
	n.why("f", InSync)
}

// A change that no leader takes is queued, and since when.
func TestWhyQueued(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	n := c.nodes[0]
	before := time.Now()
	n.set(true, false)
	n.write("f", "1")
	n.captured()
	if x := n.why("f", Queued); x.Since.Before(before) || x.Since.After(time.Now()) || x.Queued == 0 {
		t.Errorf("queued %d since %s", x.Queued, x.Since)
	}
	n.set(false, false)
	c.settled()
	n.why("f", InSync)
}

// A file is received while others have to give some of it, and staged after that.
func TestWhyReceivingAndStaging(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	c.settled()
	b.gate, b.gated = make(chan struct{}), make(chan struct{}, 1)
	const size = 3 << 20
	data := make([]byte, size)
	rand.Read(data)
	c.ok(os.WriteFile(a.path("big"), data, 0o644))
	<-b.gated
	if x := b.why("big", Receiving); x.Work.Size != size || !x.Work.Pulling || x.Work.Done != 0 || x.Head.Revision == 0 {
		t.Errorf("receiving: %+v", x.Work)
	}
	close(b.gate)
	c.settled()
	b.why("big", InSync)

	w := b.engine.staging.begin("big", 100)
	w.Want(30)
	w.Done(70, false)
	w.Done(20, true)
	if x := b.why("big", Receiving); x.Work.Done != 90 || x.Work.Came != 20 {
		t.Errorf("receiving the rest: %+v", x.Work)
	}
	w.Done(10, true)
	if x := b.why("big", Staging); x.Work.Done != 100 || x.Work.Pulling {
		t.Errorf("staging: %+v", x.Work)
	}
	b.engine.staging.set("big", whole)
	if x := b.why("big", Staging); x.Work.Done != size || x.Work.Size != size {
		t.Errorf("complete: %+v", x.Work)
	}
	b.engine.staging.end("big")
	b.why("big", InSync)
}
