package config

import (
	"errors"
	"net"
	"net/url"
	"strings"
)

// parseAppPort takes a port of this machine, or an address.
func parseAppPort(c *Config, _, value string) error {
	host, port := "127.0.0.1", value
	if strings.EqualFold(value, "off") {
		c.AppPort = ""
		return nil
	}
	if !isPort(port) {
		var err error
		if host, port, err = net.SplitHostPort(value); err != nil || !isPort(port) {
			return errors.New("is none of a port, host:port, and off")
		}
	}
	c.AppPort = net.JoinHostPort(host, port)
	return nil
}

// parseUpstream takes the root of an HTTP app.
func parseUpstream(c *Config, _, value string) error {
	c.Upstream = nil
	if value == "" {
		return nil
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("is not of the form http://host:port")
	}
	c.Upstream = u
	return nil
}
