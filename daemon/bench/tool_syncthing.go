package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// syncthingTool is two or more instances that know each other's address. Against its
// defaults it is made fast: the watcher's delay is 1 s, the least that it takes, not 10; it does
// not lower its own priority; copiers and hashers are left to it. Discovery, relays,
// reports and upgrades are off, as they would ask the internet. TLS and fsync stay on.
type syncthingTool struct{}

func (syncthingTool) name() string    { return "syncthing" }
func (syncthingTool) missing() string { return installed("syncthing") }

func (syncthingTool) start(ctx context.Context, _ *bench, dir string, n int) (session, error) {
	s := &syncthingSession{}
	for i := range n {
		node, err := newSyncthingNode(ctx, filepath.Join(dir, nodeName(i)))
		if err != nil {
			return nil, err
		}
		s.nodes = append(s.nodes, node)
	}
	for i, node := range s.nodes {
		if err := os.WriteFile(filepath.Join(node.home, "config.xml"), []byte(s.config(i)), 0o600); err != nil {
			return nil, err
		}
		if err := s.start(ctx, i); err != nil {
			return s, err
		}
	}
	for i := range s.nodes {
		if err := s.connected(ctx, i); err != nil {
			return s, err
		}
	}
	return s, nil
}

type syncthingNode struct {
	id, home, root string
	gui, port      int
	d              *daemon
}

type syncthingSession struct{ nodes []*syncthingNode }

const syncthingKey = "bench"

func newSyncthingNode(ctx context.Context, dir string) (*syncthingNode, error) {
	n := &syncthingNode{home: filepath.Join(dir, "home"), root: filepath.Join(dir, "root")}
	if err := os.MkdirAll(filepath.Join(n.root, ".stfolder"), 0o755); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "syncthing", "generate", "--home", n.home, "--no-default-folder", "--skip-port-probing")
	cmd.Env = append(os.Environ(), "HOME="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("syncthing generate: %w: %s", err, lastLine(string(out)))
	}
	cmd = exec.CommandContext(ctx, "syncthing", "--home", n.home, "--device-id")
	cmd.Env = append(os.Environ(), "HOME="+dir)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("syncthing --device-id: %w", err)
	}
	n.id = strings.TrimSpace(string(out))
	if n.gui, err = freePort(); err != nil {
		return nil, err
	}
	n.port, err = freePort()
	return n, err
}

// config is config.xml of node i. What it does not say is the default.
func (s *syncthingSession) config(i int) string {
	var devices, members strings.Builder
	for j, n := range s.nodes {
		fmt.Fprintf(&devices, `<device id="%s" name="%s" compression="metadata"><address>tcp://127.0.0.1:%d</address></device>`+"\n",
			n.id, nodeName(j), n.port)
		fmt.Fprintf(&members, `<device id="%s"></device>`, n.id)
	}
	me := s.nodes[i]
	return fmt.Sprintf(`<configuration version="36">
<folder id="bench" label="bench" path="%s" type="sendreceive" rescanIntervalS="3600" fsWatcherEnabled="true" fsWatcherDelayS="1">
%s</folder>
%s<gui enabled="true" tls="false"><address>127.0.0.1:%d</address><apikey>%s</apikey></gui>
<options>
<listenAddress>tcp://127.0.0.1:%d</listenAddress>
<globalAnnounceEnabled>false</globalAnnounceEnabled>
<localAnnounceEnabled>false</localAnnounceEnabled>
<relaysEnabled>false</relaysEnabled>
<natEnabled>false</natEnabled>
<reconnectionIntervalS>1</reconnectionIntervalS>
<startBrowser>false</startBrowser>
<urAccepted>-1</urAccepted>
<autoUpgradeIntervalH>0</autoUpgradeIntervalH>
<crashReportingEnabled>false</crashReportingEnabled>
<setLowPriority>false</setLowPriority>
</options>
</configuration>
`, me.root, members.String(), devices.String(), me.gui, syncthingKey, me.port)
}

func (s *syncthingSession) roots() (out []string) {
	for _, n := range s.nodes {
		out = append(out, n.root)
	}
	return out
}

func (s *syncthingSession) push(context.Context, ...string) (bool, error) { return false, nil }
func (s *syncthingSession) leaves() leave                                 { return leave{} }

func (s *syncthingSession) used() []usage {
	out := make([]usage, len(s.nodes))
	for i, n := range s.nodes {
		if n.d != nil {
			out[i] = n.d.usage()
		}
	}
	return out
}

func (s *syncthingSession) close() error {
	for _, n := range s.nodes {
		n.d.end()
	}
	return nil
}

func (s *syncthingSession) stop(_ context.Context, node int) error {
	s.nodes[node].d.end()
	s.nodes[node].d = nil
	return nil
}

// start starts a node as one process, without the second one that starts it again.
func (s *syncthingSession) start(_ context.Context, node int) (err error) {
	n := s.nodes[node]
	dir := filepath.Dir(n.home)
	n.d, err = startDaemon(dir, "log", []string{"HOME=" + dir, "STNORESTART=1", "STNOUPGRADE=1"}, "syncthing", "serve", "--home", n.home, "--no-browser")
	return err
}

type syncthingConnections struct {
	Total       struct{ OutBytesTotal int64 }
	Connections map[string]struct{ Connected bool }
}

func (s *syncthingSession) connections(ctx context.Context, node int) (c syncthingConnections, err error) {
	req, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("http://127.0.0.1:%d/rest/system/connections", s.nodes[node].gui), nil)
	if err != nil {
		return c, err
	}
	req.Header.Set("X-API-Key", syncthingKey)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return c, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return c, errors.New(resp.Status)
	}
	return c, json.NewDecoder(resp.Body).Decode(&c)
}

// connected waits until a node is connected with all others.
func (s *syncthingSession) connected(ctx context.Context, node int) error {
	for {
		c, err := s.connections(ctx, node)
		n := 0
		for _, other := range c.Connections {
			if other.Connected {
				n++
			}
		}
		if err == nil && n == len(s.nodes)-1 {
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("syncthing %s has %d connections: %w", nodeName(node), n, err)
		}
	}
}

func (s *syncthingSession) sent(ctx context.Context) (int64, error) {
	c, err := s.connections(ctx, 0)
	return c.Total.OutBytesTotal, err
}
