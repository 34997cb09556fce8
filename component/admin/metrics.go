package admin

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the component's, in a registry of their own. Its methods are what the engine's observer and the edges
// call, by the same names; they cost little and may be called from many goroutines at once. Labels come from closed sets
// and from the catalog, never from callers.
type Metrics struct {
	registry *prometheus.Registry

	turns        *prometheus.HistogramVec
	batchSize    prometheus.Histogram
	batchTime    prometheus.Histogram
	events       prometheus.Counter
	checkSize    prometheus.Histogram
	checkTime    prometheus.Histogram
	conflicts    *prometheus.CounterVec
	resolved     *prometheus.HistogramVec
	activations  *prometheus.HistogramVec
	replayed     *prometheus.CounterVec
	passivations *prometheus.CounterVec
	rejected     *prometheus.CounterVec
	sessions     *prometheus.GaugeVec
	sessionEnds  *prometheus.CounterVec
	streamUp     prometheus.Gauge
	streams      prometheus.Counter
	discoveries  *prometheus.CounterVec
	requests     *prometheus.HistogramVec
	delivered    *prometheus.HistogramVec
	lag          *prometheus.HistogramVec
	retried      *prometheus.CounterVec
	parked       *prometheus.CounterVec
	skipped      *prometheus.CounterVec
	calls        *prometheus.HistogramVec
	removed      prometheus.Counter
	swept        prometheus.Histogram
	replication  replication
}

// Durations from a turn in memory to a stalled database.
var seconds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// Ages from a delivery at once to one after a night's outage.
var lags = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 21600}

var sizes = prometheus.ExponentialBuckets(1, 2, 11)

// NewMetrics makes metrics that are all zero.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry:     prometheus.NewRegistry(),
		turns:        histograms("turn_seconds", "Time that the user function took for a command.", seconds, "service"),
		batchSize:    histogram("append_batch_size", "Appends in one batch.", sizes),
		batchTime:    histogram("append_seconds", "Time that a batch of appends took.", seconds),
		events:       counter("events_appended_total", "Events in the batches that came back from the journal."),
		checkSize:    histogram("check_batch_size", "Questions about heads in one batch.", sizes),
		checkTime:    histogram("check_seconds", "Time that a batch of questions about heads took.", seconds),
		conflicts:    counters("conflicts_total", "Appends that found their entity elsewhere.", "service"),
		resolved:     histograms("resolved_seconds", "Time to find out about an append in doubt.", seconds, "service", "verdict"),
		activations:  histograms("activation_seconds", "Time to bring an entity into memory.", seconds, "service"),
		replayed:     counters("replayed_events_total", "Events read for activations.", "service"),
		passivations: counters("passivations_total", "Entities that left memory.", "service", "reason"),
		rejected:     counters("rejected_total", "Commands refused because of a limit.", "service", "setting"),
		sessions:     gauges("sessions", "Entities with a session in the user function.", "service"),
		sessionEnds:  counters("session_failures_total", "Sessions that ended with an error.", "service"),
		streamUp:     gauge("actor_stream_up", "1 while the sidecar's actor stream is registered."),
		streams:      counter("actor_streams_total", "Times that an actor stream was registered with the sidecar."),
		discoveries:  counters("discoveries_total", "Attempts to discover the user function.", "result"),
		requests:     histograms("component_request_seconds", "Requests of the sidecar to state store and binding.", seconds, "method", "code"),
		delivered:    histograms("delivery_seconds", "Time that the try took by which an effect or an event was delivered.", seconds, "kind", "service"),
		lag:          histograms("delivery_lag_seconds", "Age of an effect or an event when it was delivered.", lags, "kind", "service"),
		retried:      counters("delivery_retries_total", "Tries to deliver an effect or an event that failed and are repeated.", "kind", "service"),
		parked:       counters("parked_total", "Effects, events and messages that were given up and parked.", "kind", "service"),
		skipped:      counters("skipped_events_total", "Events that no method of their consumer takes.", "service"),
		removed:      counter("retention_removed_events_total", "Events of state keys that retention removed."),
		swept:        histogram("retention_sweep_seconds", "Time that retention took to go through all state keys once.", lags),
		calls:        histograms("gateway_call_seconds", "Calls at the gateway.", seconds, "protocol", "service", "method", "code"),
	}
	m.registry.MustRegister(
		m.turns, m.batchSize, m.batchTime, m.events, m.checkSize, m.checkTime, m.conflicts, m.resolved, m.activations,
		m.replayed, m.passivations, m.rejected, m.sessions, m.sessionEnds, m.streamUp, m.streams, m.discoveries, m.requests,
		m.delivered, m.lag, m.retried, m.parked, m.skipped, m.calls, m.removed, m.swept,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.replication = newReplication(m.registry)
	return m
}

const namespace = "entities"

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets})
}

func histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
}

func gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

// Turned counts a command that the user function answered, or did not.
func (m *Metrics) Turned(service string, took time.Duration) {
	m.turns.WithLabelValues(service).Observe(took.Seconds())
}

// Appended counts a batch of appends that came back from the journal.
func (m *Metrics) Appended(appends, events int, took time.Duration) {
	m.batchSize.Observe(float64(appends))
	m.batchTime.Observe(took.Seconds())
	m.events.Add(float64(events))
}

// Checked counts a batch of questions about heads.
func (m *Metrics) Checked(questions int, took time.Duration) {
	m.checkSize.Observe(float64(questions))
	m.checkTime.Observe(took.Seconds())
}

// Conflicted counts an append that found its entity elsewhere.
func (m *Metrics) Conflicted(service string) { m.conflicts.WithLabelValues(service).Inc() }

// Resolved counts an append in doubt that was found out about: committed, absent or unknown.
func (m *Metrics) Resolved(service, verdict string, took time.Duration) {
	m.resolved.WithLabelValues(service, verdict).Observe(took.Seconds())
}

// Activated counts an entity that came into memory, and the events read for it.
func (m *Metrics) Activated(service string, events int, took time.Duration) {
	m.activations.WithLabelValues(service).Observe(took.Seconds())
	m.replayed.WithLabelValues(service).Add(float64(events))
}

// Passivated counts an entity that left memory.
func (m *Metrics) Passivated(service, reason string) {
	m.passivations.WithLabelValues(service, reason).Inc()
}

// Limited counts a command refused because of a limit, by the setting of the limit.
func (m *Metrics) Limited(service, setting string) {
	m.rejected.WithLabelValues(service, setting).Inc()
}

// SessionOpened counts a session of a service.
func (m *Metrics) SessionOpened(service string) { m.sessions.WithLabelValues(service).Inc() }

// SessionClosed follows a SessionOpened; failed says that the session did not end as it should.
func (m *Metrics) SessionClosed(service string, failed bool) {
	m.sessions.WithLabelValues(service).Dec()
	if failed {
		m.sessionEnds.WithLabelValues(service).Inc()
	}
}

// ActorStream says that the actor stream was registered, or that it is gone.
func (m *Metrics) ActorStream(up bool) {
	if !up {
		m.streamUp.Set(0)
		return
	}
	m.streamUp.Set(1)
	m.streams.Inc()
}

// Discovery counts an attempt: ok, unreachable, invalid.
func (m *Metrics) Discovery(result string) { m.discoveries.WithLabelValues(result).Inc() }

// Request counts a request of the sidecar, by its full gRPC method and code.
func (m *Metrics) Request(method, code string, took time.Duration) {
	if i := strings.LastIndex(method, ".v1."); i >= 0 {
		method = method[i+len(".v1."):]
	}
	m.requests.WithLabelValues(method, code).Observe(took.Seconds())
}

// Delivered counts an effect that was carried out or an event that was handled, by the service that it went to or, for
// events, that consumes it: how long the last try took, and how old it was then.
func (m *Metrics) Delivered(kind, service string, took, age time.Duration) {
	m.delivered.WithLabelValues(kind, service).Observe(took.Seconds())
	m.lag.WithLabelValues(kind, service).Observe(age.Seconds())
}

// Retried counts a try that failed and is repeated.
func (m *Metrics) Retried(kind, service string) { m.retried.WithLabelValues(kind, service).Inc() }

// Parked counts an effect, an event of a journal or a message of a topic that was given up.
func (m *Metrics) Parked(kind, service string) { m.parked.WithLabelValues(kind, service).Inc() }

// Skipped counts an event that no method of its consumer takes.
func (m *Metrics) Skipped(service string) { m.skipped.WithLabelValues(service).Inc() }

// Removed counts events of state keys that were no longer to be kept.
func (m *Metrics) Removed(events int64) { m.removed.Add(float64(events)) }

// Swept counts the times that retention has gone through all state keys.
func (m *Metrics) Swept(took time.Duration) { m.swept.Observe(took.Seconds()) }

// Called counts a call at the gateway.
func (m *Metrics) Called(protocol, service, method, code string, took time.Duration) {
	m.calls.WithLabelValues(protocol, service, method, code).Observe(took.Seconds())
}

// Gauges shows numbers that somebody else keeps: entities in memory (resident), entities owned (owned), commands in
// progress (in_flight), their bytes (bytes). Called at every scrape, they answer at once. It may be called once.
func (m *Metrics) Gauges(g Gauges) {
	for _, v := range []struct {
		name, help string
		read       func() float64
	}{
		{"resident", "Entities in memory.", g.Resident},
		{"owned", "Entities that the sidecar has placed here.", g.Owned},
		{"in_flight", "Commands in progress, waiting ones included.", g.InFlight},
		{"in_flight_bytes", "Size of the commands and answers in progress.", g.Bytes},
	} {
		if v.read != nil {
			m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: v.name, Help: v.help}, v.read))
		}
	}
}

// Gauges are read at every scrape. Those that are nil are not shown.
type Gauges struct{ Resident, Owned, InFlight, Bytes func() float64 }

// Handler serves the metrics alone.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}
