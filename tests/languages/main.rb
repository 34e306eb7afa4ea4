require 'rack'
require 'webrick'
require_relative 'adieu'

greet = ->(env) { [200, { 'Content-Type' => 'text/plain' }, [env['adieu.subject']]] }
quiet = WEBrick::Log.new(File::NULL)
Rack::Handler::WEBrick.run(Adieu.new(greet, ARGV[1]), Host: '127.0.0.1', Port: ARGV[0].to_i, Logger: quiet, AccessLog: [])
