package raftnode

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// sink receives one snapshot: a stream from the leader (Write) or this node's own
// checkpoint (adopt). It is used by one goroutine.
type sink struct {
	s    *snapshots
	name string
	temp string
	m    *manifest

	// pipe leads to the goroutine that unpacks a stream; result is its answer.
	pipe   *io.PipeWriter
	result chan unpacked

	closed bool
	err    error
}

type unpacked struct {
	m   *manifest
	err error
}

// ID implements raft.SnapshotSink.
func (k *sink) ID() string { return k.name }

// Write implements io.Writer: a part of the stream.
func (k *sink) Write(p []byte) (int, error) {
	if k.closed {
		return 0, errors.New("snapshot sink is closed")
	}
	if k.pipe == nil {
		r, w := io.Pipe()
		k.pipe, k.result = w, make(chan unpacked, 1)
		go func() {
			m, err := unpack(k.s.fs, k.temp, r)
			if err == nil {
				// The padding after the end mark, if any.
				_, err = io.Copy(io.Discard, io.LimitReader(r, 1<<20))
			}
			r.CloseWithError(cmpErr(err, io.ErrClosedPipe))
			k.result <- unpacked{m, err}
		}()
	}
	return k.pipe.Write(p)
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// adopt moves a checkpoint directory in, without copying.
func (k *sink) adopt(dir string) error {
	fs := k.s.fs
	state := fs.PathJoin(k.temp, stateName)
	if err := fs.Rename(dir, state); err != nil {
		return err
	}
	names, err := fs.List(state)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		size, sum, err := hashFile(fs, fs.PathJoin(state, name))
		if err != nil {
			return err
		}
		k.m.Files = append(k.m.Files, manifestFile{Name: name, Size: size, Digest: sum})
	}
	return nil
}

// Close implements io.Closer: the snapshot is complete, verified and durable when
// it returns nil. A second call returns what the first did.
func (k *sink) Close() error {
	if k.closed {
		return k.err
	}
	k.closed = true
	if k.err = k.finish(); k.err != nil {
		k.err = fmt.Errorf("finish snapshot %q: %w", k.name, errors.Join(k.err, k.s.fs.RemoveAll(k.temp)))
	}
	return k.err
}

func (k *sink) finish() error {
	if k.pipe != nil {
		k.pipe.Close()
		got := <-k.result
		if got.err != nil {
			return got.err
		}
		if got.m.Index != k.m.Index || got.m.Term != k.m.Term {
			return fmt.Errorf("%w: holds index %d of term %d, announced as %d of %d",
				ErrDamaged, got.m.Index, got.m.Term, k.m.Index, k.m.Term)
		}
		k.m.Files = got.m.Files
	}
	head, err := k.m.marshal()
	if err != nil {
		return err
	}
	fs := k.s.fs
	for _, name := range []string{manifestName, copyName} {
		if err := writeFile(fs, fs.PathJoin(k.temp, name), head); err != nil {
			return err
		}
	}
	if err := syncDir(fs, k.temp); err != nil {
		return err
	}
	final := fs.PathJoin(k.s.dir, k.name)
	if err := fs.Rename(k.temp, final); err != nil {
		return err
	}
	if err := syncDir(fs, k.s.dir); err != nil {
		return err
	}
	meta, err := k.m.meta(k.name, tarSize(len(head), k.m))
	if err != nil {
		return err
	}
	k.s.add(&snapshot{dir: final, head: head, m: k.m, meta: meta})
	return nil
}

// Cancel implements raft.SnapshotSink: nothing is left.
func (k *sink) Cancel() error {
	if k.closed {
		return nil
	}
	k.closed = true
	if k.pipe != nil {
		k.pipe.CloseWithError(errors.New("snapshot was cancelled"))
		<-k.result
	}
	return k.s.fs.RemoveAll(k.temp)
}

// writeFile writes and syncs a file.
func writeFile(fs vfs.FS, path string, b []byte) error {
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(slices.Clone(b)) // a vfs.File may scribble over what it was given
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
