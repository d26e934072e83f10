package main

import (
	"slices"
	"strings"
	"testing"
)

func TestMedianAndPercentile(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		v                []float64
		median, p50, p95 float64
	}{
		{nil, 0, 0, 0},
		{[]float64{3}, 3, 3, 3},
		{[]float64{4, 1}, 2.5, 1, 4},
		{[]float64{9, 1, 5}, 5, 5, 9},
		{[]float64{20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 10.5, 10, 19},
	} {
		was := slices.Clone(tc.v)
		if m, a, b := median(tc.v), percentile(tc.v, 50), percentile(tc.v, 95); m != tc.median || a != tc.p50 || b != tc.p95 {
			t.Errorf("%v: median %v, p50 %v, p95 %v", tc.v, m, a, b)
		}
		if !slices.Equal(was, tc.v) {
			t.Errorf("%v was changed to %v", was, tc.v)
		}
	}
}

func TestSummarize(t *testing.T) {
	t.Parallel()
	figs := []figure{
		{Workload: "W10", Metric: "wall", Unit: "s", Tool: "lockstep", Run: 1, Value: 4},
		{Workload: "W2", Metric: "wall", Unit: "s", Tool: "cp", Run: 1, Value: 2},
		{Workload: "W2", Metric: "wall", Unit: "s", Tool: "lockstep", Run: 1, Value: 3},
		{Workload: "W2", Metric: "wall", Unit: "s", Tool: "cp", Run: 2, Value: 4},
		{Workload: "W2", Metric: "wall", Unit: "s", Tool: "lockstep", Run: 2, Note: "over the limit"},
		{Workload: "W2", Metric: "wall", Unit: "s", Tool: "slow", Run: 1, Note: "over the limit"},
	}
	got := summarize(figs, "cp")
	want := []summary{
		{Workload: "W2", Metric: "wall", Unit: "s", Tool: "cp", Runs: 2, Median: 3, Min: 2, Max: 4, Ratio: 1},
		{Workload: "W2", Metric: "wall", Unit: "s", Tool: "lockstep", Runs: 1, Median: 3, Min: 3, Max: 3, Ratio: 1, Missed: 1, Note: "over the limit"},
		{Workload: "W2", Metric: "wall", Unit: "s", Tool: "slow", Missed: 1, Note: "over the limit"},
		{Workload: "W10", Metric: "wall", Unit: "s", Tool: "lockstep", Runs: 1, Median: 4, Min: 4, Max: 4},
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !slices.Contains(got, want[i]) {
			t.Fatalf("got\n%+v\nwant\n%+v", got, want)
		}
	}
	if got[3].Workload != "W10" {
		t.Errorf("W10 is not last: %+v", got)
	}
	var sb strings.Builder
	if err := printTable(&sb, got, "cp"); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"to cp", "and 1 without: over the limit", "W10"} {
		if !strings.Contains(sb.String(), part) {
			t.Errorf("no %q in\n%s", part, sb.String())
		}
	}
}

func TestNatural(t *testing.T) {
	t.Parallel()
	have := []string{"W10", "W7b", "W7", "W1", "W11"}
	slices.SortFunc(have, natural)
	if want := []string{"W1", "W7", "W7b", "W10", "W11"}; !slices.Equal(have, want) {
		t.Errorf("got %q", have)
	}
}

func TestChangesPerSecond(t *testing.T) {
	t.Parallel()
	for out, want := range map[string][]rate{
		"BenchmarkProposeApply-2   \t 100\t  50000 ns/op\n": {{"", 20000}},
		"goos: linux\nBenchmarkP/puts=1/by=leader-2 10 50000 ns/op 12500 changes/s 3 B/op\nBenchmarkP/b 1 1 ns/op 13000 changes/s\n": {
			{"puts=1/by=leader", 12500}, {"b", 13000}},
		"PASS\n": nil,
	} {
		got, err := changesPerSecond(out)
		if !slices.Equal(got, want) || (err == nil) != (len(want) > 0) {
			t.Errorf("%q: got %v, %v", out, got, err)
		}
	}
}
