package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lockstep-sync/lockstep/chunks"
	conf "github.com/lockstep-sync/lockstep/daemon/config"
	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/events"
	"github.com/lockstep-sync/lockstep/daemon/fetch"
	"github.com/lockstep-sync/lockstep/daemon/join"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/peers"
	"github.com/lockstep-sync/lockstep/daemon/propose"
	"github.com/lockstep-sync/lockstep/daemon/transport"
	"github.com/lockstep-sync/lockstep/internal/failpoint"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
	"github.com/lockstep-sync/lockstep/meta/raftnode"
	"github.com/lockstep-sync/lockstep/meta/store"
)

// Node is a running node.
type Node struct {
	home    home
	looks   looks
	cfg     config
	set     conf.Config // what config.toml says
	self    id.Node
	ident   *transport.Identity
	log     *slog.Logger
	started time.Time

	metaStore *store.Store
	machine   *meta.Machine
	local     *local.DB
	chunks    *chunks.Store
	share     *fetch.Share
	members   *members
	trans     *transport.Transport
	raft      *raftnode.Node
	peers     *peers.Peers
	propose   *propose.Proposer
	folders   *folders
	events    *events.Log
	changes   *changes
	lags      *lags

	place place
	moves chan moved // members at new addresses, for keepAddresses

	fatal chan error // capacity 1: see stop
}

// run runs a node. It reads as a list: lock, config, stores, network, raft,
// peers, folders, control socket last; the end is the reverse.
func run(ctx context.Context, h home, o RunOptions) (err error) {
	if err := failpoint.Check(); err != nil {
		return err // a misspelt one must not be silent
	}
	release, err := h.lockIfThere()
	if err != nil {
		return err
	}
	defer release()
	cfg, err := h.load()
	if err != nil {
		return err
	}
	set, err := conf.Load(string(h))
	if err != nil {
		return err
	}
	n := &Node{
		home: h, cfg: cfg.with(set), set: set, log: o.Log, started: time.Now(), fatal: make(chan error, 1),
		share: fetch.NewShare(), events: events.New(keptEvents), moves: make(chan moved, 16),
		changes: newChanges(), lags: newLags(),
	}
	if o.made != nil {
		o.made(n)
	}
	ended := make(chan error, 1)
	go func() { ended <- n.run(ctx, o) }()
	select {
	case err := <-ended:
		return err
	case err := <-n.fatal:
		// A store's writer hangs for good, so nothing can be ended in order: the
		// process has to end now, as if it were killed.
		return fmt.Errorf("stopped at once, nothing is lost: %w; is the disk of %s full? free some space and start again", err, h)
	}
}

// stop ends the process from a place that cannot return.
func (n *Node) stop(err error) {
	select {
	case n.fatal <- err:
	default: // it is ending
	}
}

// run opens what the node keeps, and serves.
func (n *Node) run(ctx context.Context, o RunOptions) (err error) {
	h, cfg := n.home, n.cfg
	if n.ident, err = transport.LoadIdentity(h.identity()); err != nil {
		return err
	}
	n.self = n.ident.ID()
	closeStores, err := n.openStores()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStores()) }()
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen on %q: %w; end what uses the address, or change \"listen\" in %s", cfg.Listen, err, h.settings())
	}
	if n.members, err = newMembers(n.self, n.machine, n.local, n.told()); err != nil {
		return errors.Join(err, listener.Close())
	}
	n.trans = transport.New(transport.Options{Identity: n.ident, Listener: listener, Members: n.members, Log: o.Log})
	n.members.drop = n.trans.Drop
	if err := n.members.refresh(); err != nil {
		return errors.Join(err, listener.Close())
	}
	n.peers = peers.New(peers.Options{
		Transport: n.trans, Backend: backend{n}, Members: n.members, Log: o.Log,
		LimitUp: n.set.LimitUp, LimitDown: n.set.LimitDown,
	})
	committed, err := n.local.Committed()
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	n.raft, err = raftnode.Open(raftnode.Options{
		Dir: h.raft(), Self: n.self, Machine: n.machine, Store: n.metaStore, Stream: n.trans.Raft(),
		Bootstrap: cfg.First, Committed: committed, Online: n.peers.Online, Answers: n.peers.Answers, Applied: n.appliedAt, Log: o.Log,
	})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	n.propose = propose.New(propose.Options{Self: n.self, Local: n.local, Machine: n.machine, Sender: sender{n}, Log: o.Log})
	n.folders = newFolders(n)
	if err := n.folders.load(); err != nil {
		return errors.Join(err, n.raft.Close(), listener.Close())
	}
	ctl, err := control.Listen(string(h))
	if err != nil {
		return errors.Join(err, n.raft.Close(), listener.Close())
	}
	return n.serve(ctx, ctl, func() { o.Ready(listener.Addr().String()) })
}

// serve runs everything until ctx ends or a part fails. What commits and moves
// files ends first; then leadership is handed over; then the network ends.
func (n *Node) serve(ctx context.Context, ctl net.Listener, ready func()) error {
	base, stopBase := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBase()
	net, netCtx := errgroup.WithContext(base)
	net.Go(func() error { return n.trans.Run(netCtx) })
	net.Go(func() error { return n.peers.Run(netCtx) })
	net.Go(func() error { return n.members.Run(netCtx) })
	net.Go(func() error { return n.raft.Run(netCtx) })

	work, workCtx := errgroup.WithContext(ctx)
	work.Go(func() error { // a part of the network that fails ends the work too
		select {
		case <-workCtx.Done():
			return nil
		case <-netCtx.Done():
			return errNetwork
		}
	})
	work.Go(func() error { return n.lead(workCtx) })
	work.Go(func() error {
		return join.NewServer(join.ServerOptions{
			Listener: n.trans.JoinListener(), Cluster: n.cfg.Cluster, Admit: admit{n}, Log: n.log,
		}).Run(workCtx)
	})
	work.Go(func() error { return n.folders.Run(workCtx) })
	work.Go(func() error { return n.observe(workCtx) })
	work.Go(func() error { return n.rest(workCtx) })
	work.Go(func() error { return control.NewServer(service{n}, n.log).Run(workCtx, ctl) })
	ready()
	err := work.Wait()
	if ctx.Err() != nil && !errors.Is(err, errNetwork) {
		down, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		if serr := n.raft.Shutdown(down); serr != nil {
			n.log.Warn("hand over leadership", "error", serr)
		}
		cancel()
	}
	stopBase()
	nerr := net.Wait()
	if errors.Is(err, errNetwork) {
		err = nerr
	}
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || err == nil) {
		return nil
	}
	return err
}

// errNetwork says that a part of the network has ended; its own error says why.
var errNetwork = errors.New("the network ended")

// shutdownTime bounds a clean end's handing over: some elections.
const shutdownTime = 8 * time.Second

// lead begins the cluster if this node made it, then the session and proposals.
func (n *Node) lead(ctx context.Context) error {
	if n.cfg.First {
		if err := n.found(ctx); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.propose.Run(ctx) })
	g.Go(func() error { return n.keepRecord(ctx) })
	g.Go(func() error { return n.keepAddresses(ctx) })
	return g.Wait()
}

// found commits the cluster's first command, once in its life.
func (n *Node) found(ctx context.Context) error {
	for {
		v := n.machine.View()
		c, err := v.Cluster()
		if cerr := v.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
		if !c.ID.IsZero() {
			return nil
		}
		body, err := meta.EncodeCommand(meta.ClusterCmd{ID: n.cfg.Cluster, First: meta.NodeRecord{
			ID: n.self, Name: n.cfg.Name, Address: n.cfg.Advertise, Role: meta.RoleAuto,
			AdmittedBy: n.self, Signature: n.sign(n.self),
		}})
		if err != nil {
			return err
		}
		env := meta.Envelope{Node: n.self}
		if _, err := n.raft.Propose(ctx, env, body); err != nil {
			n.log.Debug("found the cluster", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// sign admits a node.
func (n *Node) sign(node id.Node) []byte {
	return join.SignAdmission(n.ident, n.cfg.Cluster, node)
}

// removed reports whether the cluster has removed this node, as far as it knows: it
// is told by the log, or by an answer to what it proposes, or nobody speaks to it.
func (n *Node) removed() bool {
	return n.members.removed() || n.propose.NotMember() || n.shutOut()
}

// openStores opens what the node keeps. The function it returns closes them.
func (n *Node) openStores() (func() error, error) {
	var closers []func() error
	closeAll := func() (err error) {
		for i := len(closers) - 1; i >= 0; i-- {
			err = errors.Join(err, closers[i]())
		}
		return err
	}
	st, err := store.Open(n.home.meta(), store.Options{Log: n.log, Fatal: n.stop})
	if err != nil {
		return nil, err
	}
	n.metaStore = st
	closers = append(closers, st.Close)
	if n.machine, err = meta.NewMachine(st, n.log); err != nil {
		return nil, errors.Join(err, closeAll())
	}
	if err := os.MkdirAll(n.home.local(), 0o700); err != nil {
		return nil, errors.Join(err, closeAll())
	}
	if n.local, err = local.Open(n.home.local(), local.Options{Log: n.log, Fatal: n.stop}); err != nil {
		return nil, errors.Join(err, closeAll())
	}
	closers = append(closers, n.local.Close)
	n.chunks, err = chunks.Open(chunks.Options{Dir: n.home.packs(), KV: n.local.KV(), Files: locations{n}, Log: n.log})
	if err != nil {
		return nil, errors.Join(err, closeAll())
	}
	closers = append(closers, n.chunks.Close)
	return closeAll, nil
}

// told is who the inviter said is a member; this node itself is one in any case.
func (n *Node) told() []meta.NodeRecord {
	out := append([]meta.NodeRecord(nil), n.cfg.Members...)
	for _, r := range out {
		if r.ID == n.self {
			return out
		}
	}
	return append(out, meta.NodeRecord{ID: n.self, Name: n.cfg.Name, Address: n.cfg.Advertise})
}

// lockIfThere locks the home, if there is one to lock.
func (h home) lockIfThere() (func(), error) {
	if _, err := h.load(); errors.Is(err, ErrNoNode) {
		return nil, err
	}
	return h.lock()
}
