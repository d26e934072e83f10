package fields

import (
	"encoding/binary"
	"testing"
)

func TestReadsWhatWasWritten(t *testing.T) {
	b := []byte{7}
	b = binary.AppendUvarint(b, 1<<60)
	b = binary.AppendVarint(b, -5)
	b = AppendText(b, "a\x00b")
	b = append(b, 1, 2, 3)
	read := func(b []byte) (*Reader, byte, uint64, int64, string, [3]byte) {
		r := NewReader(b)
		var tail [3]byte
		k, u, v, s := r.Byte(), r.Uvarint(), r.Varint(), r.Text(3)
		r.Copy(tail[:])
		return r, k, u, v, s, tail
	}
	r, k, u, v, s, tail := read(b)
	if !r.Done() || k != 7 || u != 1<<60 || v != -5 || s != "a\x00b" || tail != [3]byte{1, 2, 3} {
		t.Errorf("read %d %d %d %q %v, done %v", k, u, v, s, tail, r.Done())
	}
	for n := range b {
		if r, _, _, _, _, _ := read(b[:n]); r.Done() || !r.Bad() {
			t.Errorf("%d of %d bytes are taken for the whole", n, len(b))
		}
	}
	if r, _, _, _, _, _ := read(append(b, 0)); r.Done() || r.Bad() {
		t.Errorf("a byte too many: done %v, bad %v", r.Done(), r.Bad())
	}
	if r := NewReader(AppendText(nil, "four")); r.Text(3) != "" || !r.Bad() {
		t.Error("a text over its limit is read")
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4}, []byte{1, 0xff, 0x80, 4, 5, 6})
	f.Fuzz(func(t *testing.T, ops, b []byte) {
		r := NewReader(b)
		for _, op := range ops {
			was, bad := r.Len(), r.Bad()
			zero := true
			switch op % 5 {
			case 0:
				zero = r.Byte() == 0
			case 1:
				zero = r.Uvarint() == 0
			case 2:
				zero = r.Varint() == 0
			case 3:
				zero = r.Text(int(op)) == ""
			case 4:
				zero = r.Take(int(op)-8) == nil
			}
			if r.Len() > was || bad && (!zero || !r.Bad()) {
				t.Fatalf("op %d: %d bytes left of %d, bad %v", op, r.Len(), was, r.Bad())
			}
		}
	})
}
