package pack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Found is a record that Scan found.
type Found struct {
	Record
	// Offset of the record in the pack.
	Offset int64
	// Payload is valid until the callback returns.
	Payload []byte
	// Resync: the record was found by searching behind damage rather than where
	// the one before it ends. Its header and payload are sound, yet it may lie
	// inside another's payload (of somebody's copy of a pack), so its ID must be
	// verified.
	Resync bool
}

// Result of Scan.
type Result struct {
	// End is the offset behind the last sound record, from itself if there is none.
	End int64
	// Damaged counts the stretches before End that are no sound records.
	Damaged int
}

// scanBuffer is how much Scan reads at once while it searches, in bytes.
const scanBuffer = 1 << 20

// Scan walks the records of r between from and size and calls fn for each sound
// one: header and payload as their checksums say. Damage is skipped by searching
// for the next sound record. maxLen bounds lengths by kind; 0 is an unknown kind.
// Memory is bounded by the longest record. It ends early with fn's error or a
// read error.
func Scan(r io.ReaderAt, from, size int64, maxLen func(kind uint8) int, fn func(Found) error) (Result, error) {
	s := scanner{r: r, size: size, maxLen: maxLen, fn: fn}
	res := Result{End: from}
	for at := from; at < size; {
		next, ok, err := s.record(at, false)
		if err != nil {
			return res, err
		}
		if !ok {
			next, err = s.search(at + 1)
			if err != nil {
				return res, err
			}
			if next < 0 {
				return res, nil // nothing sound behind: a torn tail
			}
			res.Damaged++
		}
		res.End, at = next, next
	}
	return res, nil
}

type scanner struct {
	r       io.ReaderAt
	size    int64
	maxLen  func(uint8) int
	fn      func(Found) error
	header  [RecordHeaderLen]byte
	payload []byte
	window  []byte
}

// record reads the record at and hands it to fn. It returns the offset behind
// it; ok is false where there is no sound one.
func (s *scanner) record(at int64, resync bool) (next int64, ok bool, err error) {
	if at+RecordHeaderLen > s.size {
		return 0, false, nil
	}
	if err := ReadFull(s.r, s.header[:], at); err != nil {
		return 0, false, fmt.Errorf("read pack record at %d: %w", at, err)
	}
	rec, err := ParseRecord(s.header[:], s.maxLen)
	if err != nil || at+rec.Len() > s.size {
		return 0, false, nil
	}
	if cap(s.payload) < int(rec.Stored) {
		s.payload = make([]byte, max(int(rec.Stored), 256<<10))
	}
	p := s.payload[:rec.Stored]
	if err := ReadFull(s.r, p, at+RecordHeaderLen); err != nil {
		return 0, false, fmt.Errorf("read pack record at %d: %w", at, err)
	}
	if rec.CheckPayload(p) != nil {
		return 0, false, nil
	}
	return at + rec.Len(), true, s.fn(Found{Record: rec, Offset: at, Payload: p, Resync: resync})
}

// search finds the next sound record at or behind at, hands it to fn and returns
// the offset behind it, or -1.
func (s *scanner) search(at int64) (int64, error) {
	if s.window == nil {
		s.window = make([]byte, scanBuffer)
	}
	for at+RecordHeaderLen <= s.size {
		w := s.window[:min(scanBuffer, s.size-at)]
		if err := ReadFull(s.r, w, at); err != nil {
			return 0, fmt.Errorf("search pack at %d: %w", at, err)
		}
		for i := 0; ; i++ {
			j := bytes.Index(w[i:], []byte(recordMagic))
			if j < 0 {
				break
			}
			i += j
			next, ok, err := s.record(at+int64(i), true)
			if ok || err != nil {
				return next, err
			}
		}
		at += int64(len(w)) - int64(len(recordMagic)) + 1
	}
	return -1, nil
}

// ReadFull fills b from off. A file shorter than the caller was told is
// io.ErrUnexpectedEOF.
func ReadFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
