package api

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A Sample is one value at one moment. Its name begins with margay_.
type Sample struct {
	Name    string
	Help    string
	Labels  []string // name, value, name, value
	Value   float64
	Counter bool // only ever rises; otherwise a gauge
}

// Metrics answers with the samples that collect returns, and those of the Go
// runtime and the process, in Prometheus's text format.
func Metrics(collect func() []Sample) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(sampler(collect), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// sampler is a prometheus.Collector whose metrics are known only when asked.
type sampler func() []Sample

// Describe sends nothing: the collector is unchecked.
func (sampler) Describe(chan<- *prometheus.Desc) {}

func (s sampler) Collect(out chan<- prometheus.Metric) {
	for _, x := range s() {
		var names, values []string
		for i := 0; i+1 < len(x.Labels); i += 2 {
			names, values = append(names, x.Labels[i]), append(values, x.Labels[i+1])
		}
		kind := prometheus.GaugeValue
		if x.Counter {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(x.Name, x.Help, names, nil), kind, x.Value, values...)
	}
}
