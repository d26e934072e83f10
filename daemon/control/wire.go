package control

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

const (
	// maxRequest bounds a request's body in bytes: a few paths, never a list.
	maxRequest = 1 << 20
	// maxLine bounds one line of a stream, and a whole plain response, in bytes.
	// A status with 100,000 blocked paths stays below.
	maxLine = 64 << 20

	typeJSON   = "application/json"
	typeStream = "application/x-ndjson"
	typeBytes  = "application/octet-stream"

	// catInfoHeader carries CatInfo before the bytes, catResultTrailer "ok" or an
	// Error after them.
	catInfoHeader    = "Lockstep-Info"
	catResultTrailer = "Lockstep-Result"
)

// line is one line of a streamed list. The last line has Error or End set; a
// stream without one was cut off.
type line struct {
	Item  json.RawMessage `json:"item,omitempty"`
	End   json.RawMessage `json:"end,omitempty"`
	Error *Error          `json:"error,omitempty"`
}

var errCutOff = errors.New("the connection to the daemon broke before the answer was whole")

// streamWriter writes a streamed list.
type streamWriter struct {
	w   http.ResponseWriter
	bw  *bufio.Writer
	n   int
	err error
}

func newStreamWriter(w http.ResponseWriter) *streamWriter {
	w.Header().Set("Content-Type", typeStream)
	return &streamWriter{w: w, bw: bufio.NewWriterSize(w, 64<<10)}
}

func (s *streamWriter) item(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	s.n++
	return s.write(line{Item: raw})
}

// finish writes the last line: the error if there is one, else the result.
func (s *streamWriter) finish(result any, err error) {
	if err != nil {
		s.write(line{Error: asError(err)})
	} else if raw, err := json.Marshal(result); err != nil {
		s.write(line{Error: asError(err)})
	} else {
		s.write(line{End: raw})
	}
	s.bw.Flush()
}

func (s *streamWriter) write(l line) error {
	if s.err != nil {
		return s.err
	}
	raw, err := json.Marshal(l)
	if err == nil {
		_, err = s.bw.Write(append(raw, '\n'))
	}
	s.err = err
	return err
}

// readStream reads a streamed list: item gets each element, end the result.
func readStream(r io.Reader, item func(json.RawMessage) error, end any) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 64<<10), maxLine)
	for sc.Scan() {
		var l line
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			return fmt.Errorf("decode the daemon's answer: %w", err)
		}
		switch {
		case l.Error != nil:
			return l.Error
		case l.End != nil:
			if err := json.Unmarshal(l.End, end); err != nil {
				return fmt.Errorf("decode the daemon's answer: %w", err)
			}
			return nil
		case l.Item != nil:
			if err := item(l.Item); err != nil {
				return err
			}
		default:
			return errors.New("decode the daemon's answer: empty line")
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("%w: %w", errCutOff, err)
	}
	return errCutOff
}
