package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

// The measurements of docs/performance.md. They print a table and JSON lines, and
// fail where an acceptance bound is missed. Set LOCKSTEP_MEASURE to a file to have
// the JSON lines appended there.

// Bounds of the acceptance.
const (
	maxRSS        = 250 << 20             // peak of each daemon, throughout
	maxInsertPart = 0.01                  // of the file, on the wire, for one byte inserted
	maxLatency    = 60 * time.Millisecond // median, one new 4 KiB file
)

// figures collects what a measurement prints.
type figures struct {
	t    *testing.T
	rows [][2]string
}

func (f *figures) add(name, unit string, value float64) {
	f.t.Helper()
	f.rows = append(f.rows, [2]string{name, fmt.Sprintf("%.6g %s", value, unit)})
	line, err := json.Marshal(map[string]any{
		"test": f.t.Name(), "name": name, "unit": unit, "value": value, "time": time.Now().UTC().Format(time.RFC3339),
		"cpus": runtime.NumCPU(), "go": runtime.Version(),
	})
	must(f.t, err)
	fmt.Println(string(line))
	if path := os.Getenv("LOCKSTEP_MEASURE"); path != "" {
		out, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		must(f.t, err)
		defer out.Close()
		_, err = fmt.Fprintln(out, string(line))
		must(f.t, err)
	}
}

func (f *figures) print() {
	f.t.Helper()
	var sb strings.Builder
	for _, r := range f.rows {
		fmt.Fprintf(&sb, "  %-52s %s\n", r[0], r[1])
	}
	f.t.Logf("\n%s", sb.String())
}

// peaks adds each daemon's peak RSS, and checks the bound.
func (f *figures) peaks(c *harness.Cluster) {
	f.t.Helper()
	for _, n := range c.Nodes {
		u, err := n.Usage()
		must(f.t, err)
		f.add("peak RSS of "+n.Name, "MiB", float64(u.PeakRSS)/(1<<20))
		if u.PeakRSS > maxRSS {
			f.t.Errorf("peak RSS of %s: %d MiB, bound %d", n.Name, u.PeakRSS>>20, maxRSS>>20)
		}
	}
}

func median[T int64 | float64 | time.Duration](v []T) T {
	s := slices.Clone(v)
	slices.Sort(s)
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}

// direct leaves the proxies out: their copying would be measured too.
func direct(o *harness.Options) { o.Direct, o.LogLevel = true, "warn" }

// cpu is the CPU time of all daemons of c so far.
func cpu(t *testing.T, c *harness.Cluster) (sum time.Duration) {
	t.Helper()
	for _, n := range c.Nodes {
		u, err := n.Usage()
		must(t, err)
		sum += u.CPU
	}
	return sum
}

// await waits until each node's status says that the head is on its disk, with as
// many files as wanted: polling by walking trees would be measured too. The disks
// are compared afterwards.
func await(ctx context.Context, c *harness.Cluster, files uint64) error {
	for _, n := range c.Nodes {
		for {
			f, err := n.Folder(ctx, folderName)
			if err == nil && f.Files == files && f.AppliedRevision == f.HeadRevision && f.LocalChanges+f.PendingFiles == 0 {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("node %s: %+v, %w", n.Name, f, context.Cause(ctx))
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	return nil
}

// sourceTree is the Go distribution's src.
func sourceTree(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	must(t, err)
	return filepath.Join(strings.TrimSpace(string(out)), "src")
}

// TestMeasureSourceTree: the Go distribution's src in one node's folder, until it
// is on all three disks; interleaved with `cp -a` and `sync` of the same tree.
func TestMeasureSourceTree(t *testing.T) {
	long(t)
	src := sourceTree(t)
	tree, err := harness.Snapshot(src)
	must(t, err)
	files := uint64(len(tree.Find(func(_ string, e harness.Entry) bool { return e.Kind == "file" })))
	fig := &figures{t: t}
	fig.add("files of the tree", "files", float64(files))
	fig.add("bytes of the tree", "bytes", float64(tree.Bytes()))
	var cpWall, cpCPU, wall, cpuTime, wire []float64
	for run := range envInt(t, "LOCKSTEP_RUNS", 5) {
		w, u := copyWithCP(t, src)
		cpWall, cpCPU = append(cpWall, w), append(cpCPU, u)
		t.Run(fmt.Sprint("run ", run+1), func(t *testing.T) {
			ctx := within(t, 10*time.Minute)
			c := shared(t, ctx, 3, direct)
			// The tree is put there by a rename, whole, so that what is measured is the
			// syncing and not the copying into the folder.
			staged := filepath.Join(filepath.Dir(c.Nodes[0].Tree), "staged")
			out, err := exec.Command("cp", "-a", src, staged).CombinedOutput()
			if err != nil {
				t.Fatalf("cp: %v: %s", err, out)
			}
			must(t, exec.Command("sync").Run())
			before, begin := cpu(t, c), time.Now()
			must(t, os.Rename(staged, at(c.Nodes[0], "src")))
			must(t, await(ctx, c, files))
			wall = append(wall, time.Since(begin).Seconds())
			cpuTime = append(cpuTime, (cpu(t, c) - before).Seconds())
			var sent float64
			for _, n := range c.Nodes {
				f, err := n.Folder(ctx, folderName)
				must(t, err)
				sent += float64(f.WireBytesSent)
			}
			wire = append(wire, sent)
			// The disks, in bytes, modes and mtimes of files.
			want := harness.Tree{"src": {Kind: "dir", Mode: snapshot(t, c.Nodes[0])["src"].Mode}}
			for p, e := range tree {
				want["src/"+p] = e
			}
			must(t, harness.WaitTree(ctx, want, c.Nodes...))
			fig.peaks(c)
		})
		if t.Failed() {
			return
		}
	}
	fig.add("cp -a and sync, wall, median", "s", median(cpWall))
	fig.add("cp -a and sync, CPU, median", "s", median(cpCPU))
	fig.add("Lockstep to two others, wall, median", "s", median(wall))
	fig.add("Lockstep, CPU of three daemons, median", "s", median(cpuTime))
	fig.add("Lockstep, bytes sent, median", "bytes", median(wire))
	fig.add("wall, times cp -a and sync", "x", median(wall)/median(cpWall))
	fig.print()
}

// copyWithCP measures `cp -a` and `sync` of src.
func copyWithCP(t *testing.T, src string) (wall, cpu float64) {
	t.Helper()
	dir, err := os.MkdirTemp("", "lockstep-cp-")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, exec.Command("sync").Run())
	begin := time.Now()
	cmd := exec.Command("sh", "-c", `cp -a "$1" "$2" && sync`, "sh", src, dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	return time.Since(begin).Seconds(), (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
}

// TestMeasureText: the Go distribution's src as one file, to three readers that share
// it: bytes sent and CPU, where the links are fast, and where each connection has 512 KiB
// a second.
func TestMeasureText(t *testing.T) {
	long(t)
	t.Run("fast links", func(t *testing.T) { measureText(t, 0, direct) })
	t.Run("slow links", func(t *testing.T) { measureText(t, 512<<10) })
}

func measureText(t *testing.T, limit int64, opts ...func(*harness.Options)) {
	ctx := within(t, 10*time.Minute)
	c := shared(t, ctx, 4, opts...)
	a := c.Nodes[0]
	for _, n := range c.Nodes {
		if limit > 0 {
			must(t, n.Limit(limit))
		}
	}
	staged := filepath.Join(filepath.Dir(a.Tree), "staged")
	out, err := os.Create(staged)
	must(t, err)
	tar := exec.Command("tar", "-cf", "-", "-C", filepath.Dir(sourceTree(t)), "src")
	tar.Stdout = out
	must(t, tar.Run())
	must(t, out.Sync())
	st, err := out.Stat()
	must(t, err)
	must(t, out.Close())
	fig := &figures{t: t}
	fig.add("one file of text", "bytes", float64(st.Size()))
	begin, used := time.Now(), cpu(t, c)
	must(t, os.Rename(staged, at(a, "src.tar")))
	must(t, await(ctx, c, 1))
	fig.add("text to three readers, wall", "s", time.Since(begin).Seconds())
	fig.add("text to three readers, CPU of four daemons", "s", (cpu(t, c) - used).Seconds())
	var sent float64
	for _, n := range c.Nodes {
		f, err := n.Folder(ctx, folderName)
		must(t, err)
		sent += float64(f.WireBytesSent)
	}
	fig.add("text to three readers, bytes sent by all four", "bytes", sent)
	must(t, harness.WaitTree(ctx, snapshot(t, a), c.Nodes...))
	fig.peaks(c)
	fig.print()
}

// TestMeasureInsertion: a 1 GiB random file, then one byte inserted at its start.
func TestMeasureInsertion(t *testing.T) {
	long(t)
	const size = 1 << 30
	ctx := within(t, 20*time.Minute)
	c := shared(t, ctx, 3, direct)
	a := c.Nodes[0]
	fig := &figures{t: t}
	received := func() (n int64) {
		for _, m := range c.Nodes[1:] {
			f, err := m.Folder(ctx, folderName)
			must(t, err)
			n += f.WireBytesReceived
		}
		return n
	}
	staged := filepath.Join(filepath.Dir(a.Tree), "staged")
	must(t, writeRandom(staged, nil, size))
	begin, used := time.Now(), cpu(t, c)
	must(t, os.Rename(staged, at(a, "big")))
	must(t, await(ctx, c, 1))
	fig.add("1 GiB random to two others, wall", "s", time.Since(begin).Seconds())
	fig.add("1 GiB random, CPU of three daemons", "s", (cpu(t, c) - used).Seconds())
	first := received()
	fig.add("1 GiB random, bytes received by both", "bytes", float64(first))
	must(t, harness.WaitTree(ctx, snapshot(t, a), c.Nodes...))

	f, err := os.Open(at(a, "big"))
	must(t, err)
	must(t, writeRandom(staged, io.MultiReader(strings.NewReader("x"), f), size+1))
	must(t, f.Close())
	rev := settled(t, ctx, c).HeadRevision
	begin, used = time.Now(), cpu(t, c)
	must(t, os.Rename(staged, at(a, "big")))
	for _, n := range c.Nodes { // each of them: one that has not heard of it says that all is done
		must(t, harness.Until(ctx, "the next revision", func() error {
			f, err := n.Folder(ctx, folderName)
			if err == nil && f.HeadRevision <= rev {
				err = fmt.Errorf("head %d", f.HeadRevision)
			}
			return err
		}))
	}
	must(t, await(ctx, c, 1))
	fig.add("one byte inserted, wall", "s", time.Since(begin).Seconds())
	fig.add("one byte inserted, CPU of three daemons", "s", (cpu(t, c) - used).Seconds())
	second := received() - first
	fig.add("one byte inserted, bytes received by both", "bytes", float64(second))
	if second == 0 {
		t.Error("one byte inserted: nothing was received, so this measured nothing")
	}
	part := float64(second) / 2 / size
	fig.add("one byte inserted, part of the file for each", "", part)
	if part >= maxInsertPart {
		t.Errorf("one byte inserted: %.4f of the file on the wire, bound %.2f", part, maxInsertPart)
	}
	must(t, harness.WaitTree(ctx, snapshot(t, a), c.Nodes...))
	fig.peaks(c)
	fig.print()
}

// writeRandom writes size bytes of r, or random ones, and syncs them.
func writeRandom(path string, r io.Reader, size int64) error {
	if r == nil {
		r = rand.Reader
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := io.CopyN(f, r, size); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// TestMeasureLargeFile: 12 GiB, partly sparse, between two nodes: peak RSS.
func TestMeasureLargeFile(t *testing.T) {
	long(t)
	const (
		size = 12 << 30
		data = 2 << 30 // random, spread over the file in 64 MiB pieces
		unit = 64 << 20
	)
	ctx := within(t, 60*time.Minute)
	c := shared(t, ctx, 2, direct)
	a := c.Nodes[0]
	staged := filepath.Join(filepath.Dir(a.Tree), "staged")
	f, err := os.Create(staged)
	must(t, err)
	must(t, f.Truncate(size))
	for i := range int64(data / unit) {
		_, err := io.CopyN(io.NewOffsetWriter(f, i*(size/(data/unit))+12345), rand.Reader, unit)
		must(t, err)
	}
	must(t, f.Sync())
	must(t, f.Close())
	fig := &figures{t: t}
	begin, used := time.Now(), cpu(t, c)
	must(t, os.Rename(staged, at(a, "large")))
	must(t, await(ctx, c, 1))
	fig.add("12 GiB, 2 of them data, to one other, wall", "s", time.Since(begin).Seconds())
	fig.add("12 GiB, CPU of two daemons", "s", (cpu(t, c) - used).Seconds())
	b, err := c.Nodes[1].Folder(ctx, folderName)
	must(t, err)
	fig.add("12 GiB, bytes received", "bytes", float64(b.WireBytesReceived))
	fig.peaks(c)
	must(t, harness.WaitTree(ctx, snapshot(t, a), c.Nodes[1]))
	fig.peaks(c)
	fig.print()
}

// TestMeasureLatency: one new 4 KiB file in the synced source tree, until it is
// visible with the right content on another node that is a voter and not the
// leader; 20 trials.
func TestMeasureLatency(t *testing.T) {
	long(t)
	const trials = 20
	ctx := within(t, 20*time.Minute)
	c := shared(t, ctx, 3, direct)
	src := sourceTree(t)
	tree, err := harness.Snapshot(src)
	must(t, err)
	files := uint64(len(tree.Find(func(_ string, e harness.Entry) bool { return e.Kind == "file" })))
	if _, err := harness.CopyTree(c.Nodes[0].Tree, src); err != nil {
		t.Fatal(err)
	}
	must(t, await(ctx, c, files))
	must(t, c.WaitVoters(ctx, 3))
	leader := c.Leader(ctx)
	var reader, author *harness.Node // a follower reads; the leader's and the other's writes take turns
	for _, n := range c.Nodes {
		if n != leader {
			author, reader = reader, n
		}
	}
	fig := &figures{t: t}
	for _, w := range []struct {
		name string
		n    *harness.Node
	}{{"written on the other follower", author}, {"written on the leader", leader}} {
		var took []time.Duration
		for i := range trials {
			content := make([]byte, 4096)
			if _, err := rand.Read(content); err != nil {
				t.Fatal(err)
			}
			name := fmt.Sprintf("net/trial-%s-%d", w.n.Name, i)
			begin := time.Now()
			must(t, os.WriteFile(at(w.n, name), content, 0o644))
			for {
				if got, err := os.ReadFile(at(reader, name)); err == nil && string(got) == string(content) {
					break
				}
				if time.Since(begin) > 30*time.Second {
					t.Fatalf("trial %d: not there after %s", i, time.Since(begin))
				}
				time.Sleep(200 * time.Microsecond) // the resolution of the measurement
			}
			took = append(took, time.Since(begin))
			settled(t, ctx, c) // trials do not overlap
		}
		slices.Sort(took)
		ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
		fig.add("one new 4 KiB file, "+w.name+", median", "ms", ms(median(took)))
		fig.add("one new 4 KiB file, "+w.name+", p95", "ms", ms(took[trials*95/100-1]))
		if m := median(took); m > maxLatency {
			t.Errorf("%s: median %s, bound %s", w.name, m, maxLatency)
		}
	}
	fig.peaks(c)
	fig.print()
}
