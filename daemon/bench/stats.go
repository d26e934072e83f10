package main

import (
	"cmp"
	"slices"
)

// figure is one value of one run of one tool.
type figure struct {
	Workload string  `json:"workload"`
	Metric   string  `json:"metric"`
	Unit     string  `json:"unit"`
	Tool     string  `json:"tool"`
	Run      int     `json:"run"`
	Value    float64 `json:"value"`
	// Note says why there is no value: over the limit, trees that differ, an error.
	Note string `json:"note,omitempty"`
}

// summary is what the runs of one tool gave for one metric of one workload.
type summary struct {
	Workload string  `json:"workload"`
	Metric   string  `json:"metric"`
	Unit     string  `json:"unit"`
	Tool     string  `json:"tool"`
	Runs     int     `json:"runs"`
	Median   float64 `json:"median"`
	Min      float64 `json:"min"`
	Max      float64 `json:"max"`
	// Ratio is Median over that of the floor, 0 where there is none.
	Ratio float64 `json:"ratio,omitempty"`
	// Missed counts runs without a value; Note is why the first of them has none.
	Missed int    `json:"missed,omitempty"`
	Note   string `json:"note,omitempty"`
}

// median is 0 for no values.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// percentile returns the smallest value that at least p percent of v do not exceed
// (the nearest-rank method); 0 for no values.
func percentile(v []float64, p int) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	rank := (p*len(s) + 99) / 100
	return s[max(rank, 1)-1]
}

// summarize groups figures by workload, metric and tool, in the order of their first
// appearance, workloads and metrics before tools. Ratios are to the tool floor.
func summarize(figs []figure, floor string) []summary {
	type line struct{ workload, metric string }
	var lines []line
	var tools []string
	values := map[line]map[string][]float64{}
	about := map[line]map[string]*summary{}
	for _, f := range figs {
		l := line{f.Workload, f.Metric}
		if values[l] == nil {
			values[l], about[l] = map[string][]float64{}, map[string]*summary{}
			lines = append(lines, l)
		}
		if !slices.Contains(tools, f.Tool) {
			tools = append(tools, f.Tool)
		}
		s := about[l][f.Tool]
		if s == nil {
			s = &summary{Workload: f.Workload, Metric: f.Metric, Unit: f.Unit, Tool: f.Tool}
			about[l][f.Tool] = s
		}
		if f.Note != "" {
			s.Missed++
			s.Note = cmp.Or(s.Note, f.Note)
			continue
		}
		values[l][f.Tool] = append(values[l][f.Tool], f.Value)
	}
	slices.SortStableFunc(lines, func(a, b line) int { return natural(a.workload, b.workload) })
	var out []summary
	for _, l := range lines {
		base := median(values[l][floor])
		for _, t := range tools {
			s := about[l][t]
			if s == nil {
				continue
			}
			if v := values[l][t]; len(v) > 0 {
				s.Runs, s.Median, s.Min, s.Max = len(v), median(v), slices.Min(v), slices.Max(v)
				if base > 0 {
					s.Ratio = s.Median / base
				}
			}
			out = append(out, *s)
		}
	}
	return out
}

// natural orders names with numbers in them as people do: W9 before W10.
func natural(a, b string) int {
	na, ra := number(a)
	nb, rb := number(b)
	return cmp.Or(cmp.Compare(na, nb), cmp.Compare(ra, rb))
}

// number splits "W7b src" into 7 and "b src".
func number(s string) (n int, rest string) {
	i := 0
	for i < len(s) && (s[i] < '0' || s[i] > '9') {
		i++
	}
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		n = n*10 + int(s[i]-'0')
		i++
	}
	return n, s[i:]
}
