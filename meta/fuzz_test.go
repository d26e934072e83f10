package meta

import (
	"reflect"
	"testing"
	"time"
)

func FuzzDecodeCommand(f *testing.F) {
	for _, c := range goldenCommands() {
		b, err := encodeCommand(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCommand(b)
		if err != nil {
			return
		}
		again, err := encodeCommand(c)
		if err != nil {
			t.Fatal(err)
		}
		d, err := decodeCommand(again)
		if err != nil || !reflect.DeepEqual(c, d) {
			t.Fatalf("%v\n%+v\n%+v", err, c, d)
		}
	})
}

func FuzzBody(f *testing.F) {
	for _, c := range goldenCommands() {
		b, err := EncodeCommand(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b.bytes())
		f.Add(append([]byte{bodyVersion, bodyZstd}, compress(b.bytes()[2:])...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := decodeBody(b); err == nil && c == nil {
			t.Fatal("no command and no error")
		}
		if body, err := UnmarshalBody(b); err == nil {
			if _, err := UnmarshalBody(body.Marshal()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzLogEntry(f *testing.F) {
	b, err := EncodeCommand(Session{})
	if err != nil {
		f.Fatal(err)
	}
	es, err := LogEntries(Envelope{Node: nodeA}, b, time.Unix(1, 0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(es[0])
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeLogEntry(b)
		if err == nil && string(e.encode()) != string(b) {
			t.Fatal("not canonical")
		}
	})
}

func FuzzVersionRow(f *testing.F) {
	v := version{Version: Version{Path: "a", Revision: 1, Entry: file("x"), From: "b", To: "c"}, moved: true, unseen: true}
	f.Add(v.encode())
	f.Add(version{Version: Version{Entry: link("x")}}.encode())
	f.Add(version{}.encode())
	f.Add(v.hide().encode())
	f.Add(version{Version: Version{Entry: link("x")}}.hide().encode())
	f.Add([]byte("\x01X\x00000\x00\x00")) // an absence with a target that is empty
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decodeVersion("a", 1, b)
		if err != nil {
			return
		}
		w, err := decodeVersion("a", 1, v.encode())
		if err != nil || v != w {
			t.Fatalf("%v\n%+v\n%+v", err, v, w)
		}
	})
}

func FuzzRows(f *testing.F) {
	f.Add(packRow(Commit{Node: nodeA, Message: "m", Changes: 3}.row()))
	f.Add(packRow(Conflict{Path: "a", CopyPath: "b", Kind: ConflictKinds, State: ConflictOpen}.row()))
	f.Add(packRow(outcome{Outcome: Outcome{Kind: Accepted, Changes: []ChangeOutcome{{Proposed: "a", Path: "b"}}}}.row()))
	f.Add(packRow(Folder{Name: "n", Options: map[string]string{"a": "b"}}.row()))
	f.Add(packRow(&rowState{Revision: 9, Files: 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = decodeCommit(nodeFolder, 1, b)
		_, _ = decodeConflict(nodeFolder, 1, b)
		_, _ = decodeOutcome(1, b)
		_, _ = decodeFolder(nodeFolder, b)
		_, _ = decodeNode(b)
		for _, v := range []any{new(rowState), new(rowLane), new(rowCluster), new(rowSession), new(rowTag)} {
			_ = unpackRow(b, v)
		}
	})
}

var nodeFolder = [16]byte{1}

// encode is a version's row.
func (v version) encode() []byte { return v.appendRow(nil) }
