package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// ConflictRequest names one conflict: FOLDER#n.
type ConflictRequest struct {
	Folder string `json:"folder"`
	Number uint64 `json:"number"`
}

// ID returns the conflict's name.
func (r ConflictRequest) ID() string { return fmt.Sprintf("%s#%d", r.Folder, r.Number) }

// ConflictDetail is a record with the versions that it is about.
type ConflictDetail struct {
	Conflict
	// Revision is the head that was looked at.
	Revision uint64 `json:"revision"`
	// Resolved is the revision at which it was resolved, 0 while it is open.
	Resolved uint64 `json:"resolved_revision"`
	// The sides; nil where there is none, because it was deleted or never was.
	Base    *ConflictSide `json:"base"`
	Current *ConflictSide `json:"current"`
	Other   *ConflictSide `json:"other"`
}

// ConflictSide is one version in a conflict. `cat FOLDER:PATH@REVISION` writes it.
type ConflictSide struct {
	Path     string     `json:"path"`
	PathB64  string     `json:"path_b64,omitempty"`
	Revision uint64     `json:"revision"`
	Time     time.Time  `json:"time"`
	Node     string     `json:"node"`
	Kind     string     `json:"kind"`
	Size     int64      `json:"size"`
	Mode     string     `json:"mode"`
	MTime    *time.Time `json:"mtime"`
	Content  string     `json:"content"`
}

// The ways to resolve a conflict: the path's side stays; the other takes its place; both
// stay; a file that is given takes the place.
const (
	KeepCurrent = "current"
	KeepOther   = "other"
	KeepBoth    = "both"
	KeepWith    = "with"
)

// ResolveRequest resolves a conflict.
type ResolveRequest struct {
	ConflictRequest
	Keep string `json:"keep"`
	// Seen is the revision that the user looked at: what others changed since is a
	// reason to refuse. 0: that of the last ConflictShow of it on this node, else now.
	Seen    uint64 `json:"seen,omitempty"`
	Message string `json:"message,omitempty"`
	// With describes the file whose bytes are given; with KeepWith only.
	With *WithFile `json:"with,omitempty"`
}

// WithFile is a file that is given for a path.
type WithFile struct {
	Size  int64  `json:"size"`
	Mode  uint32 `json:"mode"`  // used where no side has one
	MTime int64  `json:"mtime"` // in nanoseconds since 1970
}

// ResolveResult is the record as it is now.
type ResolveResult struct {
	Conflict
	// Revision is the one that the resolution made, 0 if no file changed.
	Revision uint64 `json:"revision"`
	// OnDisk: Revision, or a later one, is on this node's disk.
	OnDisk bool `json:"on_disk"`
}

// requestHeader carries the request where the body is a file's bytes.
const requestHeader = "Lockstep-Request"

// ConflictShow implements Service.
func (c *Client) ConflictShow(ctx context.Context, r ConflictRequest) (v ConflictDetail, err error) {
	return v, c.call(ctx, "POST", "/v1/conflicts/show", r, &v, c.Timeout)
}

// ConflictResolve implements Service. It takes as long as the file's bytes take.
func (c *Client) ConflictResolve(ctx context.Context, r ResolveRequest, with io.Reader) (v ResolveResult, err error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return v, err
	}
	src := &source{r: with}
	body := io.Reader(http.NoBody)
	if r.With != nil && r.With.Size > 0 {
		body = src
	}
	hr, err := http.NewRequestWithContext(ctx, "POST", "http://lockstep/v1/conflicts/resolve", body)
	if err != nil {
		return v, err
	}
	hr.Header.Set(requestHeader, asciiJSON(raw))
	hr.Header.Set("Content-Type", typeBytes)
	if body == src {
		hr.ContentLength = r.With.Size
		hr.Header.Set("Expect", "100-continue")
	}
	resp, err := c.do(ctx, hr)
	if err != nil {
		if src.err != nil {
			return v, src.err
		}
		return v, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxLine)).Decode(&v); err != nil {
		return v, fmt.Errorf("decode the daemon's answer: %w", err)
	}
	return v, nil
}

// source remembers why reading failed: the transport tells it in words of its own.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// resolve serves ConflictResolve.
func (s *Server) resolve(w http.ResponseWriter, r *http.Request) {
	dec := json.NewDecoder(bytes.NewReader([]byte(r.Header.Get(requestHeader))))
	dec.DisallowUnknownFields()
	var req ResolveRequest
	if err := dec.Decode(&req); err != nil {
		s.fail(w, Errorf(CodeUsage, "decode request %s: %w", r.URL.Path, err))
		return
	}
	v, err := s.svc.ConflictResolve(r.Context(), req, r.Body)
	s.reply(w, v, err)
}
