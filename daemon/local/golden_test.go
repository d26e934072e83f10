package local

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/golden"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

var (
	goldenFolder = id.Folder{0xf0, 1, 15: 0xff}
	goldenRows   = []Row{
		{},
		{Base: meta.Base{Own: 1}, Entry: meta.Entry{Kind: meta.Dir, Mode: 0o755}, Stat: vfs.Stat{Kind: vfs.Dir, Mode: 0o755, MTime: 1, CTime: 2, Ino: 3, Dev: 4}, Firm: true},
		{
			Base:  meta.Base{Own: 1 << 40, Revision: 300, Hash: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}},
			Entry: meta.Entry{Kind: meta.File, Mode: 0o640, MTime: -5, Size: 1 << 33, Content: id.Sum([]byte("content")), Manifest: id.Sum([]byte("manifest"))},
			Stat:  vfs.Stat{Kind: vfs.File, Mode: 0o640, Size: 1 << 33, MTime: -5, CTime: 1 << 60, Ino: 1 << 63, Dev: 66},
			Firm:  true, File: 1 << 35, Unpacked: true,
		},
		{Base: meta.Base{Revision: 9}, Entry: meta.Entry{Kind: meta.Symlink, Target: "../a\xff b"}, Stat: vfs.Stat{Kind: vfs.Symlink, Mode: 0o777, Size: 6}},
	}
)

var goldenPlacements = []Placement{
	{Path: "gone", Version: meta.Base{Revision: 7, Hash: [8]byte{7}}, Was: meta.Base{Own: 3}},
	{
		Path: "to/file", Version: meta.Base{Revision: 8, Hash: [8]byte{8}}, Want: goldenRows[2].Entry, Ino: 1 << 50, From: "from/file\xff",
		Was: meta.Base{Revision: 6, Hash: [8]byte{6}},
	},
}

// Rows have no checksum of their own: the store below them has one for each
// block. What a row refuses is another version and bytes too few or too many.
func TestGoldenRows(t *testing.T) {
	t.Parallel()
	var lines []string
	for _, r := range goldenRows {
		lines = append(lines, hex.EncodeToString(r.encode()))
	}
	for i, line := range golden.Lines(t, "rows.golden", lines) {
		b, err := hex.DecodeString(line)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeRow(b); err != nil || got != goldenRows[i] {
			t.Errorf("line %d: got %+v, %v; want %+v", i+1, got, err, goldenRows[i])
		}
		for n := range b {
			if _, err := decodeRow(b[:n]); !errors.Is(err, errRow) {
				t.Errorf("line %d cut to %d bytes: %v", i+1, n, err)
			}
		}
		if _, err := decodeRow(append(bytes.Clone(b), 0)); !errors.Is(err, errRow) {
			t.Errorf("line %d with a byte too many: %v", i+1, err)
		}
		b[0]++
		if _, err := decodeRow(b); !errors.Is(err, errRow) {
			t.Errorf("line %d of a later version: %v", i+1, err)
		}
	}
}

// dump returns all keys and values of the store as lines.
func dump(t *testing.T, d *DB) (lines []string) {
	t.Helper()
	it, err := d.kv.Iter([]byte{0}, []byte{0xff})
	if err != nil {
		t.Fatal(err)
	}
	for it.Next() {
		lines = append(lines, fmt.Sprintf("%x %x", it.Key(), it.Value()))
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// TestGoldenStore holds the bytes of each kind of key and value, and reads a
// store that has nothing but the bytes in the golden file.
func TestGoldenStore(t *testing.T) {
	t.Parallel()
	d := open(t)
	mapping := Folder{ID: goldenFolder, Root: "/home/a b", Seen: 12, Hash: id.Sum([]byte("h")), Behind: true}
	items := []Item{
		{Sequence: 1, Body: []byte("cluster")},
		{Lane: goldenFolder, Sequence: 255, Body: []byte("one")},
		{Lane: goldenFolder, Sequence: 256, Body: []byte("two")},
	}
	b := d.NewBatch()
	b.SetFolder(mapping)
	b.Put(goldenFolder, "top", goldenRows[1], nil)
	b.Put(goldenFolder, "dir/sub/file\xff", goldenRows[2], nil)
	b.Kept(goldenFolder, id.ReservedName+"/kept/0-1", 7)
	for _, p := range goldenPlacements {
		b.Place(goldenFolder, p.Path, p)
	}
	b.Committed(goldenFolder, 259)
	b.GivenBack(goldenFolder, id.ReservedName+"/kept/0-2", id.Sum([]byte("back")))
	for _, it := range items {
		b.Enqueue(it)
	}
	commit(t, b)
	if err := d.SetMembers([]byte("members")); err != nil {
		t.Fatal(err)
	}
	if err := d.SetCommitted(258); err != nil {
		t.Fatal(err)
	}

	old := open(t)
	raw := old.kv.NewBatch()
	for _, line := range golden.Lines(t, "store.golden", dump(t, d)) {
		k, v, _ := strings.Cut(line, " ")
		key, err := hex.DecodeString(k)
		if err != nil {
			t.Fatal(err)
		}
		value, err := hex.DecodeString(v)
		if err != nil {
			t.Fatal(err)
		}
		raw.Set(key, value)
	}
	if err := raw.Commit(true); err != nil {
		t.Fatal(err)
	}
	checkGoldenStore(t, old, mapping, items)
}

func checkGoldenStore(t *testing.T, d *DB, mapping Folder, items []Item) {
	t.Helper()
	same := func(what string, got, want any, err error) {
		t.Helper()
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, %v; want %v", what, got, err, want)
		}
	}
	folders, err := d.Folders()
	same("folders", folders, []Folder{mapping}, err)
	var paths []string
	err = d.Below(goldenFolder, "", func(p id.Path, r Row) error {
		want := goldenRows[1]
		if p != "top" {
			want = goldenRows[2]
		}
		same("row "+string(p), r, want, nil)
		paths = append(paths, string(p))
		return nil
	})
	same("paths", paths, []string{"top", "dir/sub/file\xff"}, err)
	p, ok, err := d.ByInode(goldenFolder, 1<<63)
	same("path by inode", fmt.Sprintf("%s %v", p, ok), "dir/sub/file\xff true", err)
	f, p, ok, err := d.FilePath(1 << 35)
	same("path by file", fmt.Sprint(f, p, ok), fmt.Sprint(goldenFolder, "dir/sub/file\xff", true), err)
	n, err := d.KeptFile(goldenFolder, id.ReservedName+"/kept/0-1")
	same("kept file", n, 7, err)
	n, err = d.lastFile()
	same("last file", n, uint64(1)<<35, err)
	var queue []Item
	for _, lane := range []id.Folder{{}, goldenFolder} {
		err = d.Queue(lane, 0, func(it Item) error { queue = append(queue, it); return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	same("queue", queue, items, nil)
	last, err := d.LastSequence(goldenFolder)
	same("last sequence", last, 256, err)
	members, err := d.Members()
	same("members", string(members), "members", err)
	n, err = d.Committed()
	same("committed", n, 259, err)
	back, err := d.GivenBack(goldenFolder, id.ReservedName+"/kept/0-2")
	same("given back", back, id.Sum([]byte("back")), err)
	places, err := d.Placements(goldenFolder)
	same("placements", places, goldenPlacements, err)
}
