package main

import (
	"context"
	"slices"
)

// scenario is a sequence of workloads on one session: what one of them leaves is what
// the next begins with.
type scenario struct {
	name      string
	workloads []string
	tools     []string // those for which it makes sense
	nodes     int      // 0 is 2
	prepare   func(b *bench) error
	after     func(b *bench) error
	steps     []func(ctx context.Context, r *run1) error
	// alone runs instead of a session.
	alone func(ctx context.Context, r *run1) error
	// first is the metric that stands for the scenario where it fails; "" is wall.
	first string
}

func (sc scenario) takes(t tool) bool { return slices.Contains(sc.tools, t.name()) }

func (sc scenario) metric() string {
	if sc.first == "" {
		return "wall"
	}
	return sc.first
}

func scenarios() []scenario {
	type steps = []func(context.Context, *run1) error
	everyone := []string{"cp", "lockstep", "rsync", "unison", "syncthing"}
	watchers := []string{"lockstep", "syncthing"}
	return []scenario{
		{name: "src", workloads: []string{"W1", "W4", "W6"}, tools: everyone,
			steps: steps{firstSync("W1", "", "src", (*bench).source), latency, idle}},
		{name: "big", workloads: []string{"W2", "W3"}, tools: everyone,
			steps: steps{firstSync("W2", "", "big", (*bench).gib), insertion}},
		{name: "rename", workloads: []string{"W5"}, tools: []string{"lockstep", "rsync", "unison", "syncthing"},
			steps: steps{firstSync("", "", "before", (*bench).thousands), rename}},
		{name: "many", workloads: []string{"W7", "W7b"}, tools: everyone,
			steps: steps{firstSync("W7b", "", "many", (*bench).hundredThousand), restart}},
		{name: "propose", workloads: []string{"W8"}, tools: []string{"lockstep"}, alone: propose, first: "changes"},
		{name: "fan src", workloads: []string{"W9"}, tools: append(watchers, "cp", "rsync"), nodes: 4,
			steps: steps{fan("src", ", src", (*bench).source)}},
		{name: "fan 1 GiB", workloads: []string{"W9"}, tools: append(watchers, "cp", "rsync"), nodes: 4,
			steps: steps{fan("big", ", 1 GiB", (*bench).gib)}, after: func(b *bench) error { return b.forget("big") }},
		{name: "rollback", workloads: []string{"W10"}, tools: []string{"cp", "lockstep", "git", "restic"}, steps: steps{rollback}},
		{name: "append ext4", workloads: []string{"W11"}, tools: []string{"cp", "lockstep", "rsync"},
			steps: steps{appending(", ext4")}, after: func(b *bench) error { return b.forget("large") }},
		{name: "append xfs", workloads: []string{"W11"}, tools: []string{"cp", "lockstep", "rsync"},
			prepare: (*bench).toXFS, steps: steps{appending(", xfs")}, after: (*bench).fromXFS},
	}
}

func (b *bench) gib() (*data, error)             { return b.random("big", 1<<30) }
func (b *bench) large() (*data, error)           { return b.random("large", 4<<30) }
func (b *bench) thousands() (*data, error)       { return b.many("thousands", 5000, 4096) }
func (b *bench) tenThousand() (*data, error)     { return b.many("tenthousand", 10_000, 4096) }
func (b *bench) hundredThousand() (*data, error) { return b.many("many", 100_000, 1024) }
