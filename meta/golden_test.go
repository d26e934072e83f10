package meta

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/golden"
	"github.com/lockstep-sync/lockstep/internal/id"
)

func goldenCommands() []Command {
	h := id.Sum([]byte("x"))
	rec := NodeRecord{ID: nodeA, Name: "a", Address: "10.0.0.1:7417", Role: RoleVoter, AdmittedBy: nodeB, Signature: []byte{1, 2, 3}, Added: time.Unix(5, 6).UTC()}
	f := id.Folder{0xf0, 15: 1}
	big := file("big")
	big.Manifest = id.Sum([]byte("m"))
	return []Command{
		Session{},
		CommitCmd{Folder: f, Origin: OriginEdit, Message: "why", Acked: 7, Seen: Base{Revision: 3, Hash: h.Prefix()}, Changes: []Change{
			put("a", Base{}, file("x")), edit("b/\xff\n", own(4), big), chmod("d", Base{Revision: 9, Hash: h.Prefix()}, dir(), 0o700),
			put("l", Base{}, link("../x")), del("e", own(1)), mv("x/y", "z", Base{Revision: 1, Hash: h.Prefix()})}},
		RollbackCmd{Folder: f, Path: "a/b", Target: 12, TargetHash: h.Prefix(), Message: "back"},
		ResolveCmd{Folder: f, Conflict: 3, Keep: KeepWith, Seen: Base{Revision: 8, Hash: h.Prefix()}, Entry: file("x"), Message: "merged"},
		FolderCmd{Op: FolderCreate, ID: f, Name: "docs", Options: map[string]string{"owners": "yes", "conflicts": "copy", "merge": "none"}},
		NodeCmd{Op: NodeAdmit, Record: rec, Invite: h},
		InviteCmd{Op: InviteAdd, Hash: h, Role: RoleLearner, Expires: time.Unix(9, 9).UTC()},
		ClusterCmd{ID: id.Cluster{0xcc}, First: rec, Level: 1},
		TagCmd{Folder: f, Name: "v1", Revision: 5, Remove: true},
		RetentionCmd{Folder: f, Policy: "all"},
		PruneCmd{Folder: f, Drop: []RevisionRange{{1, 2}, {4, 9}}},
		FeatureCmd{Level: 1},
	}
}

func TestGoldenCommands(t *testing.T) {
	t.Parallel()
	var lines []string
	for _, c := range goldenCommands() {
		raw, err := encodeCommand(c)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%T %x", c, raw))
	}
	for i, l := range golden.Lines(t, "commands.txt", lines) {
		_, h, _ := strings.Cut(l, " ")
		raw, err := hex.DecodeString(h)
		if err != nil {
			t.Fatal(err)
		}
		c, err := decodeCommand(raw)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(c, goldenCommands()[i]) {
			t.Errorf("decoded\n%+v\nwant\n%+v", c, goldenCommands()[i])
		}
	}
}

// A compressed body is only decoded: what zstd writes may change.
func TestGoldenBody(t *testing.T) {
	t.Parallel()
	var changes []Change
	for i := range 20 {
		changes = append(changes, put(id.Path(fmt.Sprintf("dir/file-%d", i)), Base{}, file(fmt.Sprint(i))))
	}
	c := CommitCmd{Folder: id.Folder{1}, Origin: OriginImport, Changes: changes}
	b, err := EncodeCommand(c)
	if err != nil {
		t.Fatal(err)
	}
	data := golden.Stored(t, "body.bin", b.Marshal())
	if b, err = UnmarshalBody(data); err != nil {
		t.Fatal(err)
	}
	if b.Parts[0][1] != bodyZstd {
		t.Error("not compressed")
	}
	got, err := b.Command()
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Fatalf("%v\n%+v", err, got)
	}
}

func TestGoldenLogEntry(t *testing.T) {
	t.Parallel()
	env := Envelope{Node: nodeA, Session: id.Session{2}, Lane: id.Folder{3}, Sequence: 4}
	b, err := EncodeCommand(TagCmd{Folder: id.Folder{3}, Name: "t", Revision: 1})
	if err != nil {
		t.Fatal(err)
	}
	es, err := LogEntries(env, b, time.Unix(1_800_000_000, 7))
	if err != nil {
		t.Fatal(err)
	}
	golden.Lines(t, "entry.txt", []string{fmt.Sprintf("%x", es[0])})
	e, err := decodeLogEntry(es[0])
	if err != nil || e.env != env || e.time != 1_800_000_000_000_000_007 || e.hash != b.Hash || e.part != 0 || e.parts != 1 || !bytes.Equal(e.data, b.Parts[0]) {
		t.Fatalf("%+v %v", e, err)
	}
}

// Every row of the store and the hashes of its chain, after a history that has a
// bit of everything.
func TestGoldenStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("d", Base{}, dir()), put("d/f.txt", Base{}, file("one")), put("l", Base{}, link("d/f.txt")), put("m", Base{}, file("two")))
	b := w.head()
	w.commit(nodeA, edit("d/f.txt", b, file("two")), mv("m", "n", b))
	w.commit(nodeB, edit("d/f.txt", b, file("three")), chmod("m", b, file("two"), 0o600))
	w.commit(nodeC, del("d", b))
	w.must(w.do(nodeA, TagCmd{Folder: w.folder, Name: "t", Revision: 2}))
	w.must(w.do(nodeA, RollbackCmd{Folder: w.folder, Target: b.Revision, TargetHash: b.Hash}))
	w.must(w.do(nodeA, FolderCmd{Op: FolderSet, ID: w.folder, Options: map[string]string{"owners": "yes", "merge": "none"}}))
	// The first part of two of a proposal under way.
	part := logEntry{env: w.next(nodeB, w.folder), hash: id.Sum([]byte("part one part two")), parts: 2, data: []byte("part one ")}
	w.index++
	if err := w.m.Apply(w.index, part.encode()); err != nil {
		t.Fatal(err)
	}
	w.checkInvariants()
	lines := strings.Split(strings.TrimSuffix(string(dump(t, w.db)), "\n"), "\n")
	v := w.m.View()
	defer v.Close()
	if err := v.Commits(w.folder, 99, 1, func(c Commit) error {
		lines = append(lines, fmt.Sprintf("revision %s: effects %s hash %s", c.Revision, c.Effects, c.Hash))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	golden.Lines(t, "store.txt", lines)
}

// The index of times has rows from the 64th revision on.
func TestGoldenTimes(t *testing.T) {
	t.Parallel()
	db := memDB(t)
	f, tx := id.Folder{1}, newTxn(db, maxBatch)
	for i := range id.Revision(64) {
		tx.set(commitKey(f, i+1), packRow(Commit{Time: time.Unix(int64(1_800_000_000+i%50), 7)}.row()))
		if err := tx.indexTime(f, i+1); err != nil {
			t.Fatal(err)
		}
		tx.endEntry(uint64(i) + 1)
	}
	if err := tx.flush(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for l := range strings.Lines(string(dump(t, db))) {
		if strings.HasPrefix(l, "74") {
			lines = append(lines, strings.TrimSpace(l))
		}
	}
	golden.Lines(t, "times.txt", lines)
}

func TestUnknownStopsTheNode(t *testing.T) {
	t.Parallel()
	type newChange struct {
		Op  uint8 `codec:"o"`
		New uint8 `codec:"zz"`
	}
	type newCommit struct {
		Folder  []byte      `codec:"f"`
		Origin  uint8       `codec:"o"`
		Changes []newChange `codec:"c"`
	}
	raw := map[string][]byte{
		"command version": {commandVersion + 1, 1, 0x80},
		"command kind":    {commandVersion, 200, 0x80},
		"field":           pack([]byte{commandVersion, byte(kindCommit)}, &newCommit{make([]byte, 16), 1, []newChange{{1, 1}}}),
	}
	for name, c := range raw {
		w := newWorld(t)
		b := newBody(append([]byte{bodyVersion, bodyPlain}, c...))
		if _, err := LogEntries(w.next(nodeA, w.folder), b, w.now); err == nil {
			t.Errorf("%s: a leader appends it", name)
		}
		e := logEntry{env: Envelope{Node: nodeA, Session: w.session[nodeA], Lane: w.folder, Sequence: 1}, hash: b.Hash, parts: 1, data: b.Parts[0]}
		err := w.m.Apply(w.index+1, e.encode())
		if err == nil {
			t.Errorf("%s: applied", name)
		}
		if !errors.Is(err, ErrNewer) || errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if w.m.AppliedIndex() != w.index {
			t.Errorf("%s: applied index moved", name)
		}
		if err := w.m.Apply(w.index+2, nil); err == nil {
			t.Errorf("%s: the machine goes on", name)
		}
	}
	w := newWorld(t)
	if err := w.m.Apply(w.index+1, []byte{entryVersion + 1, 0, 0}); !errors.Is(err, ErrNewer) {
		t.Error(err)
	}
}
