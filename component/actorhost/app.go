package actorhost

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

// app is the HTTP app behind a Channel.
type app struct {
	url    *url.URL
	proxy  *httputil.ReverseProxy
	client *http.Client
	log    *slog.Logger
}

const (
	// askTimeout is how long the app may take to say what it is.
	askTimeout = 10 * time.Second
	// maxAppConfig is how much it may say.
	maxAppConfig = 1 << 20
)

func newApp(to *url.URL, log *slog.Logger) *app {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: askTimeout, KeepAlive: 30 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute,
		DisableCompression: true, // what the caller did not ask for, the app is not to be asked for
	}
	a := &app{url: to, client: &http.Client{
		Transport: transport, Timeout: askTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, log: log}
	a.proxy = &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(to)
			p.Out.Host, p.Out.URL.RawQuery = p.In.Host, p.In.URL.RawQuery
			for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if values, has := p.In.Header[name]; has {
					p.Out.Header[name] = values // the app is to see what the sidecar sent, and not that we stand between
				}
			}
		},
		Transport: transport, FlushInterval: -1, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				log.Warn("the app behind the app channel did not answer", keyMethod, r.Method, "path", r.URL.Path, keyError, err)
			}
			http.Error(w, "the app behind this host of entities did not answer", http.StatusBadGateway)
		},
	}
	return a
}

// ServeHTTP passes a request on as it is: streams, upgrades and trailers too.
func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.proxy.ServeHTTP(w, r) }

// listens reports whether the app takes connections.
func (a *app) listens(ctx context.Context) bool {
	address := a.url.Host
	if a.url.Port() == "" {
		address = net.JoinHostPort(a.url.Hostname(), a.url.Scheme)
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was sent
	return true
}

// ask sends the app a request of the sidecar's, with its headers.
func (a *app) ask(r *http.Request) (*http.Response, error) {
	out, err := http.NewRequestWithContext(r.Context(), http.MethodGet, a.url.JoinPath(r.URL.Path).String(), nil)
	if err != nil {
		return nil, err
	}
	out.Header = r.Header.Clone()
	return a.client.Do(out)
}

// configuration is what the app answers to /dapr/config; nothing, if it does not know that.
func (a *app) configuration(r *http.Request) map[string]json.RawMessage {
	all := map[string]json.RawMessage{}
	response, err := a.ask(r)
	if err != nil {
		a.log.Warn("the app did not say which actor types it has; it is taken to have none", keyError, err)
		return all
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return all
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAppConfig)).Decode(&all); err != nil || all == nil {
		a.log.Warn("what the app says to /dapr/config cannot be read; it is taken to have no actors", keyError, err)
		return map[string]json.RawMessage{}
	}
	return all
}

// health is the app's answer, but an app that has no such route is healthy.
func (a *app) health(w http.ResponseWriter, r *http.Request) {
	response, err := a.ask(r)
	if err != nil {
		http.Error(w, "the app behind this host of entities does not answer", http.StatusServiceUnavailable)
		return
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNotFound || response.StatusCode == http.StatusMethodNotAllowed {
		respond(w, "text/plain; charset=utf-8", []byte("ok"))
		return
	}
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, io.LimitReader(response.Body, maxAppConfig)) // to a sidecar that may be gone
}
