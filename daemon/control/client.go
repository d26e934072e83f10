package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// requestTimeout bounds a request that has no time of its own. A commit without
// a quorum ends there, with CodeTimeout.
const requestTimeout = 30 * time.Second

// addTimeout bounds what reads a whole directory tree first, such as `folder add`.
const addTimeout = 10 * time.Minute

// Client talks to the daemon of one home. It is safe for concurrent use.
type Client struct {
	home string
	http *http.Client
	// Timeout bounds each request that has no time of its own.
	Timeout time.Duration
}

// NewClient returns a client of home's daemon. It connects with each request.
func NewClient(home string) *Client {
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dial(ctx, home)
		},
		DisableKeepAlives: true,
		// A request with a file's bytes sends them once the daemon asks for them: so a
		// refusal arrives.
		ExpectContinueTimeout: time.Minute,
	}
	return &Client{home: home, http: &http.Client{Transport: tr}, Timeout: requestTimeout}
}

// Home returns the home whose daemon this client talks to.
func (c *Client) Home() string { return c.home }

// Status implements Service.
func (c *Client) Status(ctx context.Context, r StatusRequest) (v Status, err error) {
	return v, c.call(ctx, "POST", "/v1/status", r, &v, c.Timeout)
}

// FolderAdd implements Service.
func (c *Client) FolderAdd(ctx context.Context, r FolderAddRequest) (v FolderAddResult, err error) {
	return v, c.call(ctx, "POST", "/v1/folder/add", r, &v, addTimeout)
}

// Folders implements Service.
func (c *Client) Folders(ctx context.Context) (v []Folder, err error) {
	return v, c.call(ctx, "GET", "/v1/folder", nil, &v, c.Timeout)
}

// FolderRemove implements Service.
func (c *Client) FolderRemove(ctx context.Context, r FolderRemoveRequest) (v FolderRemoveResult, err error) {
	return v, c.call(ctx, "POST", "/v1/folder/rm", r, &v, addTimeout)
}

// Wait implements Service.
func (c *Client) Wait(ctx context.Context, r WaitRequest) (v WaitResult, err error) {
	return v, c.call(ctx, "POST", "/v1/wait", r, &v, r.Timeout+2*waitGrace)
}

// Log implements Service.
func (c *Client) Log(ctx context.Context, r LogRequest, emit func(LogEntry) error) (f Freshness, err error) {
	return f, list(ctx, c, "/v1/log", r, emit, &f, 0)
}

// Rollback implements Service.
func (c *Client) Rollback(ctx context.Context, r RollbackRequest, emit func(RollbackChange) error) (v RollbackResult, err error) {
	return v, list(ctx, c, "/v1/rollback", r, emit, &v, addTimeout)
}

// Conflicts implements Service.
func (c *Client) Conflicts(ctx context.Context, r ConflictsRequest, emit func(Conflict) error) error {
	return list(ctx, c, "/v1/conflicts", r, emit, &struct{}{}, 0)
}

// Nodes implements Service.
func (c *Client) Nodes(ctx context.Context) (v []ClusterMember, err error) {
	return v, c.call(ctx, "GET", "/v1/node", nil, &v, c.Timeout)
}

// Invite implements Service.
func (c *Client) Invite(ctx context.Context, r InviteRequest) (v Invite, err error) {
	return v, c.call(ctx, "POST", "/v1/invite", r, &v, c.Timeout)
}

// Trace implements Service.
func (c *Client) Trace(ctx context.Context, r TraceRequest) (v []Step, err error) {
	q := url.Values{}
	if r.Target.Folder != "" {
		q.Set("folder", r.Target.Folder)
		q.Set("path", string(r.Target.Rel))
	} else {
		q.Set("path", string(r.Target.Local))
	}
	return v, c.call(ctx, "GET", "/v1/debug/trace?"+q.Encode(), nil, &v, c.Timeout)
}

// Cat implements Service. An error after start means that the bytes written so
// far are not the version: the caller says so.
func (c *Client) Cat(ctx context.Context, r CatRequest, start func(CatInfo) io.Writer) error {
	resp, err := c.send(ctx, "POST", "/v1/cat", r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var info CatInfo
	if err := json.Unmarshal([]byte(resp.Header.Get(catInfoHeader)), &info); err != nil {
		return fmt.Errorf("decode the daemon's answer: %w", err)
	}
	n, err := io.Copy(start(info), resp.Body)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %d bytes of %d", errCutOff, n, info.Size)
	case err != nil:
		return err
	}
	switch res := resp.Trailer.Get(catResultTrailer); {
	case res == "ok" && n == info.Size:
		return nil
	case res == "" || res == "ok":
		return fmt.Errorf("%w: %d bytes of %d", errCutOff, n, info.Size)
	default:
		e := new(Error)
		if err := json.Unmarshal([]byte(res), e); err != nil {
			return fmt.Errorf("decode the daemon's answer: %w", err)
		}
		return e
	}
}

// Profile copies one of the daemon's pprof profiles ("heap", "goroutine", "allocs",
// "profile?seconds=5", "block?seconds=5", "mutex?seconds=5"), or an execution trace
// ("trace?seconds=1"), to w.
func (c *Client) Profile(ctx context.Context, name string, w io.Writer) error {
	resp, err := c.send(ctx, "GET", "/v1/debug/pprof/"+name, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(w, resp.Body)
	return err
}

// call sends a request and decodes its one answer.
func (c *Client) call(ctx context.Context, method, path string, req, resp any, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errNoAnswer(limit))
	defer cancel()
	r, err := c.send(ctx, method, path, req)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxLine+1))
	if err != nil {
		return c.failed(ctx, err)
	}
	if len(raw) > maxLine {
		return fmt.Errorf("the daemon's answer is longer than %d bytes", maxLine)
	}
	if err := json.Unmarshal(raw, resp); err != nil {
		return fmt.Errorf("decode the daemon's answer: %w", err)
	}
	return nil
}

// list sends a request whose answer is a streamed list. Limit 0 is none: a long
// list takes the time that its reader takes.
func list[Item any](ctx context.Context, c *Client, path string, req any, emit func(Item) error, end any, limit time.Duration) error {
	if limit > 0 {
		var cancel func()
		ctx, cancel = context.WithTimeoutCause(ctx, limit, errNoAnswer(limit))
		defer cancel()
	}
	r, err := c.send(ctx, "POST", path, req)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	return readStream(r.Body, func(raw json.RawMessage) error {
		var it Item
		if err := json.Unmarshal(raw, &it); err != nil {
			return fmt.Errorf("decode the daemon's answer: %w", err)
		}
		return emit(it)
	}, end)
}

// send returns a response with status 200, or the error in it.
func (c *Client) send(ctx context.Context, method, path string, req any) (*http.Response, error) {
	var body io.Reader
	if req != nil {
		raw, err := json.Marshal(req)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(raw)
	}
	hr, err := http.NewRequestWithContext(ctx, method, "http://lockstep"+path, body)
	if err != nil {
		return nil, err
	}
	hr.Header.Set("Content-Type", typeJSON)
	return c.do(ctx, hr)
}

// do returns the response to hr with status 200, or the error in it.
func (c *Client) do(ctx context.Context, hr *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(hr)
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxLine))
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	e := new(Error)
	if json.Unmarshal(raw, e) != nil || e.Message == "" {
		return nil, fmt.Errorf("the daemon answered %s", resp.Status)
	}
	return nil, e
}

// failed explains an error of the connection.
func (c *Client) failed(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if cause, ok := errors.AsType[*Error](context.Cause(ctx)); ok {
		return cause
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return Errorf(CodeFailed, "the daemon of home %q went away before it answered", c.home)
	}
	return fmt.Errorf("ask the daemon of home %q: %w", c.home, err)
}

func errNoAnswer(limit time.Duration) *Error {
	return Errorf(CodeTimeout, "the daemon did not answer within %s", limit).
		WithHint("see `lockstep status` for what it waits for: a quorum, most likely")
}

var _ Service = (*Client)(nil)
